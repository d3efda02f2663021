"""Rewards for data sets, and what is selected by them."""
