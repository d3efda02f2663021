"""Training with rewards: annotation, RAFT, PPO, Bradley-Terry."""
