"""`reward-cluster doctor`: what will work here, what will not, and what to type."""
