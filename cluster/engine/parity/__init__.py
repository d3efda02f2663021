"""Parity with the model card's pipeline."""
