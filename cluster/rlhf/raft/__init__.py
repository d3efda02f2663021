"""RAFT: a policy fine-tuned on the best of its own samples, stage by stage."""
