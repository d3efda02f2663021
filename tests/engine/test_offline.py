from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config import EngineConfig
from cluster.engine.offline import FORWARDS_A_STEP, OfflineScorer
from cluster.errors import InvalidInput
from cluster.types import Message, Score


@pytest.fixture(scope="module")
def scorer(random_checkpoint: Path) -> OfflineScorer:
    config = EngineConfig(model=str(random_checkpoint), device="cpu", token_budget=64)
    return OfflineScorer.load(config)


def chat(text: str) -> list[Message]:
    return [Message(role="user", content="Say it."), Message(role="assistant", content=text)]


def test_a_bad_conversation_is_an_error_in_its_place_and_harms_no_other(
    scorer: OfflineScorer,
) -> None:
    first, bad, last = scorer.score([chat("a"), [], chat("a")])
    assert isinstance(bad, InvalidInput)
    assert bad.item == 1
    assert isinstance(first, Score)
    assert isinstance(last, Score)
    assert first.reward == last.reward


def test_steps_do_not_change_a_reward(scorer: OfflineScorer) -> None:
    chats = [chat(f"number {n} " * (1 + n % 7)) for n in range(40)]
    alone = [scorer.score([one])[0] for one in chats]
    together = scorer.score(chats)
    assert [getattr(s, "reward", None) for s in together] == [
        getattr(s, "reward", None) for s in alone
    ]


def test_every_scored_token_is_told_step_by_step(
    scorer: OfflineScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(scorer, "on_tokens", told.append)
    scores = scorer.score([chat(f"number {n}") for n in range(40)])
    assert sum(told) == sum(score.n_tokens for score in scores if isinstance(score, Score))
    assert len(told) > 1
    assert min(told[:-1]) >= FORWARDS_A_STEP * 64


def test_nothing_asked_is_nothing_answered(scorer: OfflineScorer) -> None:
    assert scorer.score([]) == []
