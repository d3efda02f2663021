"""TRL's hooks as its trainers call them: keywords, columns of the data set, None for a NaN."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import Any

import pytest
from support.http import FakeScorer

from cluster.errors import TooLong
from cluster.integrations.trl import (
    async_reward_func,
    reward_cluster,
    reward_cluster_async,
    reward_func,
)

PROMPTS = [[{"role": "user", "content": f"What is {n}?"}] for n in (1, 1, 2)]
COMPLETIONS = [[{"role": "assistant", "content": answer}] for answer in ("One.", "1", "Two.")]
COLUMNS = {
    "completion_ids": [[1], [2], [3]],
    "trainer_state": None,
    "log_extra": print,
    "log_metric": print,
    "score": [0.0, 0.0, 0.0],
    "failed": ["a column", "of the data", "set"],
}
"""What TRL 1.16 passes beside prompts and completions."""


def chats() -> list[Any]:
    pairs = zip(PROMPTS, COMPLETIONS, strict=True)
    return [(prompt, completion[0]["content"]) for prompt, completion in pairs]


def test_a_step_is_one_call_and_its_rewards_are_the_services(
    url: str, scorer: FakeScorer, reward: Any
) -> None:
    found = reward_cluster(prompts=PROMPTS, completions=COMPLETIONS, **COLUMNS)
    assert found == [reward(chat) for chat in chats()]
    assert len(scorer.asked) == 1


def test_the_standard_format_is_a_user_message_and_its_answer(url: str, reward: Any) -> None:
    found = reward_cluster(prompts=["Hi"], completions=["Hello!"])
    assert found == [reward(("Hi", "Hello!"))]


@pytest.mark.parametrize("loops", [1, 2])
def test_the_asynchronous_one_is_known_as_such_and_works_in_any_loop(
    url: str, reward: Any, loops: int
) -> None:
    for func in (reward_cluster_async, async_reward_func().__call__):
        assert inspect.iscoroutinefunction(func)
    for _ in range(loops):
        asked = async_reward_func()(prompts=PROMPTS, completions=COMPLETIONS, **COLUMNS)
        assert asyncio.run(asked) == [reward(chat) for chat in chats()]


def test_a_failed_item_raises_or_gets_what_is_named_for_it(url: str, reward: Any) -> None:
    long = [*COMPLETIONS[:2], [{"role": "assistant", "content": "word " * 10_000}]]
    good = [reward(chat) for chat in chats()[:2]]
    with pytest.raises(TooLong, match="item 2"):
        reward_cluster(prompts=PROMPTS, completions=long)
    assert reward_func(failed=None)(PROMPTS, long) == [*good, None]
    assert reward_func(failed=-9.0)(PROMPTS, long) == [*good, -9.0]
    masked = async_reward_func(failed=None)(PROMPTS, long)
    assert asyncio.run(masked) == [*good, None]


def test_a_hook_reaches_another_process_whole(url: str, reward: Any) -> None:
    sent = pickle.loads(pickle.dumps(async_reward_func(failed=-1.0)))
    assert asyncio.run(sent(["Hi"], ["Hello!"])) == [reward(("Hi", "Hello!"))]
    assert sent.failed == -1.0
    assert sent.__name__ == reward_func().__name__ == "reward_cluster"  # a column of TRL's logs
