"""The reward function that TRL's trainers call, and TRL's GRPOTrainer calling it."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.config import EngineConfig
from cluster.engine.offline import OfflineScorer
from cluster.errors import NotReady, RewardError, TooLong
from cluster.integrations.trl import reward_func
from cluster.types import Score

PROMPT = [{"role": "user", "content": "What is 2 + 2?"}]
ANSWER = [{"role": "assistant", "content": "4"}]


def score(reward: float) -> Score:
    return Score(reward, 1, 1, False, 0.0, 0.0, "test", "1", "invariant")


class Recorder:
    """A scorer that answers with `results` and keeps what it was asked."""

    def __init__(self, *results: Score | RewardError) -> None:
        self.asked: list[Any] = []
        self._results = results

    def __call__(self, conversations: Sequence[Any]) -> list[Score | RewardError]:
        self.asked = list(conversations)
        return list(self._results)


def test_messages_and_texts_become_the_chats_that_are_scored() -> None:
    scorer = Recorder(score(1.0), score(2.0), score(3.0))
    tools = [*ANSWER, {"role": "tool", "content": "ok"}, *ANSWER]
    found = reward_func(scorer)(
        [PROMPT, "Hi", PROMPT], [ANSWER, "Hello!", tools], completion_ids=[]
    )
    assert found == [1.0, 2.0, 3.0]
    assert scorer.asked == [
        (PROMPT, "4"),
        ([{"role": "user", "content": "Hi"}], "Hello!"),
        [*PROMPT, *tools],
    ]


def test_an_error_is_never_a_reward_unless_one_is_named_for_it() -> None:
    scorer = Recorder(score(1.0), TooLong("too long"))
    with pytest.raises(TooLong, match="item 1: too long"):
        reward_func(scorer)([PROMPT] * 2, [ANSWER] * 2)
    assert reward_func(scorer, failed=-5.0)([PROMPT] * 2, [ANSWER] * 2) == [1.0, -5.0]


def test_what_may_pass_is_raised_in_any_case() -> None:
    with pytest.raises(NotReady):
        reward_func(Recorder(NotReady("no replica")), failed=-5.0)([PROMPT], [ANSWER])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_trls_grpo_trainer_learns_from_the_clusters_rewards(
    tmp_path: Path, small_policy: Path
) -> None:
    trl = importlib.import_module("trl")
    datasets = importlib.import_module("datasets")
    engine = OfflineScorer.load(EngineConfig(device="cpu"))
    seen: list[float] = []

    def kept(*arguments: Any, **named: Any) -> list[float]:
        rewards = reward_func(engine.score)(*arguments, **named)
        seen.extend(rewards)
        return rewards

    rows = [{"prompt": [{"role": "user", "content": f"Say {i}."}]} for i in range(4)]
    trainer = trl.GRPOTrainer(
        str(small_policy),
        reward_funcs=kept,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=8,
            max_steps=2,
            learning_rate=1e-3,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
    )
    trainer.train()
    logged = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert len(seen) == 8
    assert logged == pytest.approx([sum(seen[:4]) / 4, sum(seen[4:]) / 4], abs=1e-4)
