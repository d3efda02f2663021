"""`reward-cluster bench`: ratios measured in one run. Never imported by the product."""
