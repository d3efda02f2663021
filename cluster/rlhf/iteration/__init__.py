"""Loops in which a policy learns from its own scored samples, stage by stage: RAFT, DPO."""
