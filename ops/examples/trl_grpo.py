"""GRPO by TRL, rewarded by the cluster: one call per step, the trainer's code untouched.

Start a service first (`reward-cluster serve --local`), then run this file with the folder or hub id
of a chat model. Needs the extra `train`.
"""

import sys
import tempfile

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer  # type: ignore[attr-defined]

from cluster import RewardService
from cluster.integrations.trl import reward_func

PROMPTS = [f"What is {a} + {b}?" for a in range(2, 6) for b in range(2, 6)]


def main(policy: str) -> None:
    service = RewardService()  # joins the Ray that serves
    with tempfile.TemporaryDirectory() as scratch:
        trainer = GRPOTrainer(
            policy,
            reward_funcs=reward_func(service.score),
            args=GRPOConfig(
                output_dir=scratch,
                num_generations=4,
                per_device_train_batch_size=8,
                max_completion_length=16,
                max_steps=2,
                logging_steps=1,
                use_cpu=True,
                bf16=False,
                report_to="none",
                save_strategy="no",
            ),
            train_dataset=Dataset.from_list(
                [{"prompt": [{"role": "user", "content": text}]} for text in PROMPTS]
            ),
        )
        trainer.train()
    for entry in trainer.state.log_history:
        if "reward" in entry:
            print(f"step {entry['step']}: mean reward {entry['reward']:+.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
