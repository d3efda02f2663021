"""Iterative DPO: a policy trained on preferences among its own samples, iteration by iteration."""
