"""The way to the batcher, against batchers that a test scripts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from ray.exceptions import ActorDiedError

from cluster.errors import DeadlineExceeded, NotFinite, Overloaded, RewardError, ScoringFailed
from cluster.serving import deadline
from cluster.serving.batching import batcher_client as module
from cluster.serving.batching.batcher_client import BatcherClient
from cluster.serving.batching.chunks import chunks
from cluster.serving.protocol import BatchResult, ItemResult, Source, from_bytes, to_bytes
from cluster.types import EncodedBatch, Encoding, Score

pytestmark = pytest.mark.usefixtures("virtual_time")

SOURCE = Source("m", "r1", "invariant")


def encodings(*ids: int) -> dict[int, Encoding]:
    """Keyed by ten times their id, to tell keys from places."""
    return {10 * i: Encoding(np.array([i], np.int32)) for i in ids}


def answered(batch: EncodedBatch, errors: dict[int, RewardError] | None = None) -> BatchResult:
    ids = [int(e.input_ids[0]) for e in batch.encodings()]
    failed = errors or {}
    return BatchResult.from_items(
        [failed.get(i) or ItemResult(float(i), 0.0, 0.0, SOURCE) for i in ids]
    )


class Batcher:
    """A handle whose `score_bytes` runs `behave(call number, batch)`."""

    def __init__(self, behave: Callable[[int, EncodedBatch], Awaitable[BatchResult]]) -> None:
        self.n_calls = 0
        self.score_bytes = self
        self._behave = behave

    @asynccontextmanager
    async def choose_replica(self) -> AsyncIterator[None]:
        yield

    def dispatch(self, slot: None, ask: bytes) -> asyncio.Future[bytes]:
        self.n_calls += 1
        batch, *_ = from_bytes(ask)
        return asyncio.ensure_future(self._answer(batch))

    async def _answer(self, batch: EncodedBatch) -> bytes:
        return to_bytes(await self._behave(self.n_calls, batch))


def results(
    batcher: Batcher, asked: dict[int, Encoding], deadline_s: float | None = 10.0
) -> dict[int, Score | RewardError]:
    async def run() -> dict[int, Score | RewardError]:
        submitter = BatcherClient("app")
        submitter._handle = batcher  # type: ignore[assignment]
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        found: dict[int, Score | RewardError] = {}
        async for i, item in submitter.results(asked, 0, deadline):
            assert i not in found, "answered twice"
            found[i] = item
        return found

    return asyncio.run(run())


def codes(found: dict[int, Score | RewardError]) -> dict[int, float | str]:
    return {i: x.reward if isinstance(x, Score) else x.code for i, x in found.items()}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pause_s", lambda error, attempt: 0.001)


@pytest.mark.parametrize("error", [ActorDiedError(), Overloaded("full", retry_after_s=0.1)])
def test_a_call_that_was_lost_or_refused_is_asked_again(error: Exception) -> None:
    async def behave(call: int, batch: EncodedBatch) -> BatchResult:
        if call < 3:
            raise error
        return answered(batch)

    assert codes(results(Batcher(behave), encodings(1, 2))) == {10: 1.0, 20: 2.0}


def test_only_the_items_worth_it_are_asked_again() -> None:
    asked: list[list[int]] = []

    async def behave(call: int, batch: EncodedBatch) -> BatchResult:
        asked.append([int(e.input_ids[0]) for e in batch.encodings()])
        errors = {2: Overloaded("full"), 3: NotFinite("NaN")} if call == 1 else {}
        return answered(batch, errors)

    found = results(Batcher(behave), encodings(1, 2, 3))
    assert codes(found) == {10: 1.0, 20: 2.0, 30: "not_finite"}
    assert asked == [[1, 2, 3], [2]]
    assert getattr(found[30], "item", None) == 30


def test_past_the_deadline_an_error_says_what_stood_in_the_way() -> None:
    async def behave(call: int, batch: EncodedBatch) -> BatchResult:
        raise Overloaded("9 tokens wait", retry_after_s=0.1)

    (item,) = results(Batcher(behave), encodings(1), deadline_s=0.05).values()
    assert isinstance(item, DeadlineExceeded)
    assert "9 tokens wait" in item.message


def test_a_service_that_does_not_answer_ends_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadline, "GRACE_S", 0.01)

    async def behave(call: int, batch: EncodedBatch) -> BatchResult:
        await asyncio.Event().wait()
        raise AssertionError

    found = results(Batcher(behave), encodings(1, 2), deadline_s=0.02)
    assert codes(found) == {10: "deadline_exceeded", 20: "deadline_exceeded"}


def test_an_unknown_failure_ends_every_item_and_tells_the_caller_no_details() -> None:
    async def behave(call: int, batch: EncodedBatch) -> BatchResult:
        raise KeyError("an internal secret")

    batcher = Batcher(behave)
    found = results(batcher, encodings(1, 2))
    assert codes(found) == {10: "scoring_failed", 20: "scoring_failed"}
    assert all("secret" not in str(error) for error in found.values())
    assert batcher.n_calls == 1
    assert isinstance(found[10], ScoringFailed)


def test_items_whose_task_is_ended_from_outside_are_answered() -> None:
    """Half of the call is still at the batcher when its task dies; nobody waits for ever."""

    async def behave(call: int, batch: EncodedBatch) -> BatchResult:
        if call == 1:
            return answered(batch, {2: Overloaded("full"), 3: Overloaded("full")})
        (task,) = (t for t in asyncio.all_tasks() if t.get_coro().__name__ == "_finish")  # type: ignore[union-attr]
        task.cancel()
        await asyncio.Event().wait()
        raise AssertionError

    found = results(Batcher(behave), encodings(1, 2, 3), deadline_s=None)
    assert codes(found) == {10: 1.0, 20: "scoring_failed", 30: "scoring_failed"}


def test_a_large_call_goes_in_pieces_that_keep_order_and_lose_nothing() -> None:
    asked = {i: Encoding(np.zeros(n, np.int32)) for i, n in enumerate([3, 3, 3, 9, 1, 1])}
    pieces = list(chunks(asked, max_tokens=6))
    assert [list(piece) for piece in pieces] == [[0, 1], [2], [3], [4, 5]]
