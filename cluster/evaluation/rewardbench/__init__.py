"""RewardBench 1 and 2: how often a reward model prefers the right answer.

`dataset` reads rows, `scoring` scores them through a scorer passed in, `v1` and `v2` aggregate as
the benchmark's authors do, `report` shows. Sources: Lambert et al. 2024 (arXiv 2403.13787) and
Malik et al. 2025 (arXiv 2506.01937), and allenai/reward-bench on GitHub.
"""
