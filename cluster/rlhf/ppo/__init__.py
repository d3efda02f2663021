"""PPO on Ray: rollout workers, rewards as futures of the cluster's client, one learner."""
