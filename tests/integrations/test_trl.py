"""The reward function that TRL's trainers call, and TRL's GRPOTrainer calling it."""

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cluster.config import EngineConfig
from cluster.engine.offline import OfflineScorer
from cluster.errors import NotReady, RewardError, TooLong
from cluster.integrations.trl import reward_func
from cluster.types import Score

EXAMPLE = Path(__file__).resolve().parents[2] / "ops" / "examples" / "trl_grpo.py"
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


class Recording:
    """In the place of `RewardService`: an engine of its own, and every reward that it gave."""

    rewards: ClassVar[list[float]] = []

    def __init__(self) -> None:
        self._engine = OfflineScorer.load(EngineConfig(device="cpu"))

    def score(self, conversations: Sequence[Any]) -> list[Score | RewardError]:
        results = list(self._engine.score(conversations))
        self.rewards.extend(result.reward for result in results if isinstance(result, Score))
        return results


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_trls_grpo_trainer_learns_from_the_clusters_rewards_as_the_example_shows(
    small_policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    example = runpy.run_path(str(EXAMPLE))
    monkeypatch.setitem(example["main"].__globals__, "RewardService", Recording)
    example["main"](str(small_policy))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    rewards = Recording.rewards
    means = [sum(rewards[i : i + 8]) / 8 for i in (0, 8)]
    assert len(rewards) == 16
    assert told == [f"step {n}: mean reward {mean:+.3f}" for n, mean in enumerate(means, 1)]
