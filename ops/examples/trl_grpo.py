"""GRPO with TRL, rewarded by the service: one call per step, TRL's trainer unchanged.

Run it with a chat model's folder or hub id, next to `reward-cluster serve --local`. Extra: `train`.
"""

import sys
import tempfile

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer  # type: ignore[attr-defined]

from cluster import RewardService
from cluster.integrations.trl import reward_func

QUESTIONS = [f"What is {a} + {b}?" for a in range(2, 6) for b in range(2, 6)]


def main(policy: str) -> None:
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": q}]} for q in QUESTIONS])
    reward = reward_func(RewardService().score)  # joins the service's Ray
    with tempfile.TemporaryDirectory() as scratch:
        config = GRPOConfig(
            scratch,
            num_generations=4,
            max_completion_length=16,
            max_steps=2,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to="none",
        )
        trainer = GRPOTrainer(policy, reward, args=config, train_dataset=data)
        trainer.train()
    for entry in trainer.state.log_history:
        if "reward" in entry:
            print(f"step {entry['step']}: mean reward {entry['reward']:+.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
