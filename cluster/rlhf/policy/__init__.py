"""The causal language model that recipes train."""
