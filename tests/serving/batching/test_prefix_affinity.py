"""Responses go to the replica that has their prompt, where that makes nobody wait."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import numpy as np
import pytest
from support.dispatcher import Bench, until
from support.replicas import Replicas, answer

from cluster.serving.batching import prefix_affinity
from cluster.serving.batching.prefix_affinity import PrefixAffinity, prompt_id
from cluster.types import Encoding

pytestmark = pytest.mark.usefixtures("virtual_time")


def response(prompt: int, serial: int = 0, split: int = 5) -> Encoding:
    return Encoding(np.array([*[prompt] * 5, serial], np.int32), split)


def test_a_replica_has_the_prompts_that_it_was_sent() -> None:
    homes = PrefixAffinity()
    homes.sent("a", [response(1), response(2)])
    homes.sent("b", [response(2, 7)])
    assert homes.of(response(1, 9)) == {"a"}
    assert homes.of(response(2, 9)) == {"a", "b"}
    assert not homes.of(response(3))
    assert list(homes.held_by("b")) == [prompt_id(response(2))]


def test_what_has_no_split_is_at_home_nowhere() -> None:
    homes = PrefixAffinity()
    homes.sent("a", [response(1, split=0), response(1, split=6)])
    assert not homes.of(response(1, split=0))
    assert not homes.held_by("a")


def test_where_replicas_keep_nothing_nobody_is_at_home() -> None:
    homes = PrefixAffinity(on=False)
    homes.sent("a", [response(1)])
    assert not homes.of(response(1))
    assert not homes.held_by("a")


def test_prompts_and_replicas_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_affinity, "PROMPTS_PER_REPLICA", 2)
    monkeypatch.setattr(prefix_affinity, "REPLICAS", 2)
    homes = PrefixAffinity()
    for prompt in (1, 2, 1, 3):
        homes.sent("a", [response(prompt)])
    assert [bool(homes.of(response(p))) for p in (1, 2, 3)] == [True, False, True]
    for name in ("b", "a", "c"):
        homes.sent(name, [response(9)])
    assert homes.of(response(9)) == {"a", "c"}


def scripted(wish: Collection[str], n: int) -> list[str]:
    """Who got `n` items that came one by one, each after the one before was answered."""

    async def scene() -> list[str]:
        replicas = Replicas(answer, ids=("a", "b", "c"))
        bench = Bench(replicas, wish=lambda: wish)
        async with bench.running():
            for i in range(n):
                bench.add(i)
                await until(lambda n=i: len(bench.results) > n)  # type: ignore[misc]
        return replicas.where

    return asyncio.run(scene())


def test_among_idle_replicas_the_one_with_the_prompt_is_chosen() -> None:
    assert scripted({"b"}, 12) == ["b"] * 12


def test_a_wish_for_a_replica_that_is_gone_holds_nothing_up() -> None:
    assert set(scripted({"gone"}, 30)) <= {"a", "b", "c"}


def test_an_idle_replica_goes_before_a_busy_one_that_has_the_prompt() -> None:
    async def scene() -> None:
        release = asyncio.Event()

        async def hang(ids: list[int]) -> None:
            await release.wait()

        replicas = Replicas(hang, ids=("a", "b"))
        bench = Bench(replicas, batch=1, wish=lambda: {"a"})
        async with bench.running():
            bench.add(0, 1)
            await until(lambda: len(replicas.where) == 2)
            assert replicas.where == ["a", "b"]
            release.set()
            await until(lambda: len(bench.results) == 2)

    asyncio.run(scene())
