"""`reward-cluster bench`: speed as ratios within one run. The service imports nothing from it."""
