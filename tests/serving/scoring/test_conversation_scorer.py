"""Conversations to rewards over a service that a test scripts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from support.encoders import Encoder, Service, as_encoder, as_submitter, score, served

from cluster.errors import (
    DeadlineExceeded,
    EncoderChanged,
    InvalidInput,
    RevisionChanged,
    RewardError,
)
from cluster.serving.call_options import CallOptions
from cluster.serving.protocol import ServedModel
from cluster.serving.scoring import conversation_scorer as module
from cluster.serving.scoring import served_encoder, window_scorer
from cluster.serving.scoring import windows as cut
from cluster.serving.scoring.conversation_scorer import ConversationScorer, outvoted
from cluster.serving.scoring.window_scorer import Item
from cluster.types import Score

pytestmark = pytest.mark.usefixtures("virtual_time")


def scorer(service: Service, **encoders: Encoder) -> ConversationScorer:
    """Loads the encoder named by the served model; by default one of the served fingerprint."""
    made = ConversationScorer(as_submitter(service))

    def load(engine: Any) -> Any:
        return as_encoder(encoders.get(engine.model) or Encoder(service.serves.info.encoder))

    made.encoder._load = load
    return made


async def known(*pieces: Mapping[int, Any]) -> AsyncIterator[Mapping[int, Any]]:
    for piece in pieces:
        yield piece


def ask(made: ConversationScorer, *texts: Any, deadline: float | None = None) -> list[Item]:
    pieces = known(dict(enumerate(texts)))
    return asyncio.run(made.score(len(texts), pieces, CallOptions(deadline=deadline)))


def shown(items: Sequence[Item]) -> list[float | str]:
    return [item.reward if isinstance(item, Score) else item.code for item in items]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pause_s", lambda error, attempt: 0.001)


def test_what_another_model_was_encoded_for_is_encoded_again_and_never_a_number() -> None:
    old, new = Encoder("f1"), Encoder("f2")
    service = Service("f1")
    made = scorer(service, m=old, n=new)
    assert shown(ask(made, "a")) == [97.0]
    service.serves = served("f2", model="n")
    assert shown(ask(made, "a", "b")) == [97.0, 98.0]
    assert service.asked[1:] == [[0, 1], [0, 1]], "refused, then encoded by the new tokenizer"
    assert (old.n_calls, new.n_calls) == (2, 1)


def test_the_terms_of_a_call_reach_the_batcher_with_the_job_that_asks() -> None:
    service, deadline = Service(), time.monotonic() + 30
    terms = CallOptions(priority=3, deadline=deadline, job="0100")
    asyncio.run(scorer(service).score(1, known({0: "a"}), terms))
    assert service.terms == [(3, deadline, False, "0100")]


def test_an_encoder_that_stays_stale_ends_with_the_error_at_the_deadline() -> None:
    service = Service("f1")
    made = scorer(service)
    ask(made, "a")

    async def others(encodings: Mapping[int, Any], *_: Any) -> AsyncIterator[Any]:
        for i in encodings:
            yield i, EncoderChanged("another replica's tokenizer", i)

    service.results = others  # type: ignore[method-assign]
    (item,) = ask(made, "a", deadline=time.monotonic() + 0.05)
    assert isinstance(item, RewardError)
    assert item.code in ("encoder_changed", "deadline_exceeded")


def test_a_stale_encoder_refuses_nothing_that_the_served_model_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(served_encoder, "CONFIRMED_S", 0.0)
    service = Service("f1")
    made = scorer(service, m=Encoder("f1", limit=2), n=Encoder("f2", limit=4))
    assert shown(ask(made, "aaa", "b")) == ["invalid_input", 98.0]
    service.serves = served("f2", model="n")
    assert shown(ask(made, "aaa", "b")) == [291.0, 98.0]


def test_models_that_answer_by_turns_cost_a_refusal_no_busy_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(served_encoder, "CONFIRMED_S", 0.0)
    service, n_asked = Service("f1"), 0
    made = scorer(service, m=Encoder("f1", limit=2), n=Encoder("f2", limit=2))

    async def by_turns(deadline: float | None) -> ServedModel:
        nonlocal n_asked
        n_asked += 1
        assert n_asked < 1000, "asked without a pause"
        return served("f1") if n_asked % 2 else served("f2", model="n")

    made.encoder._serving = by_turns
    assert shown(ask(made, "aaa", deadline=time.monotonic() + 60)) == ["deadline_exceeded"]


def test_a_call_is_answered_by_one_revision() -> None:
    service = Service(revisions=["r1", "r2", "r1", "r2"])
    made = scorer(service)
    pieces = known({0: "a", 1: "b"}, {2: "c"})
    items = asyncio.run(made.score(3, pieces, CallOptions()))
    assert shown(items) == [97.0, 98.0, 99.0]
    assert {item.revision for item in items if isinstance(item, Score)} == {"r2"}


def test_a_call_that_never_agrees_says_so_at_its_deadline() -> None:
    service = Service(revisions=[f"r{i}" for i in range(100_000)])
    made = scorer(service)
    pieces = known({0: "a"}, {1: "b"})
    items = asyncio.run(made.score(2, pieces, CallOptions(deadline=time.monotonic() + 0.1)))
    failed = [item for item in items if isinstance(item, RewardError)]
    assert len(failed) >= 1
    assert all(isinstance(item, RevisionChanged | DeadlineExceeded) for item in failed)
    assert len({item.revision for item in items if isinstance(item, Score)}) <= 1


def test_what_is_there_is_scored_though_the_rest_never_comes() -> None:
    async def pieces() -> AsyncIterator[Mapping[int, Any]]:
        yield {0: "a", 2: InvalidInput("its reference failed")}
        await asyncio.Event().wait()

    terms = CallOptions(deadline=time.monotonic() + 0.2)
    items = asyncio.run(scorer(Service()).score(3, pieces(), terms))
    assert shown(items) == [97.0, "deadline_exceeded", "invalid_input"]
    assert [item.item for item in items if isinstance(item, RewardError)] == [1, 2]


def test_a_deadline_that_is_past_starts_nothing() -> None:
    service = Service()
    assert shown(ask(scorer(service), "a", deadline=time.monotonic() - 1)) == ["deadline_exceeded"]
    assert service.asked == []


def test_a_stream_hands_on_what_is_there_while_the_rest_is_awaited() -> None:
    async def scenario() -> list[int]:
        late = asyncio.Event()

        async def pieces() -> AsyncIterator[Mapping[int, Any]]:
            yield {1: "a"}
            await late.wait()
            yield {0: "b"}

        order = []
        async for i, _ in scorer(Service()).stream(2, pieces(), CallOptions()):
            order.append(i)
            late.set()
        return order

    assert asyncio.run(scenario()) == [1, 0]


def test_an_unexpected_error_ends_a_call_and_a_stream() -> None:
    service = Service()

    async def broken(encodings: Mapping[int, Any], *_: Any) -> AsyncIterator[Any]:
        for i in encodings:
            if i in encodings:
                raise KeyError("a mistake of ours")
            yield i

    service.results = broken  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        ask(scorer(service), "a")

    async def read() -> None:
        async for _ in scorer(service).stream(1, known({0: "a"}), CallOptions()):
            pass

    with pytest.raises(KeyError):
        asyncio.run(read())


def test_only_a_few_windows_of_a_large_call_are_held_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cut, "WINDOW_ITEMS", 2)
    running = most = 0
    service = Service()
    answer = service.results

    async def counted(encodings: Mapping[int, Any], *terms: Any) -> AsyncIterator[Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        async for result in answer(encodings, *terms):
            yield result
        running -= 1

    service.results = counted  # type: ignore[method-assign]
    texts = [chr(i) for i in range(100, 160)]
    assert shown(ask(scorer(service), *texts)) == [float(i) for i in range(100, 160)]
    assert most == module.WINDOWS


def test_the_last_answer_names_the_revision_that_stays() -> None:
    mixed: dict[int, Item] = {0: score(1.0, "r2"), 1: score(1.0, "r1"), 2: InvalidInput("x", 2)}
    assert outvoted(mixed) == [0]
    assert outvoted({0: score(1.0), 1: InvalidInput("x", 1)}) == []


def test_less_urgent_calls_hold_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_scorer, "WINDOWS_PER_PRIORITY", 1)
    service = Service()
    asked, opened, answer = asyncio.Event(), asyncio.Event(), service.results

    async def held(encodings: Mapping[int, Any], priority: int, *more: Any) -> AsyncIterator[Any]:
        if priority == 0:
            asked.set()
            await opened.wait()
        async for result in answer(encodings, priority, *more):
            yield result

    service.results = held  # type: ignore[method-assign]

    async def scenario() -> None:
        made = scorer(service)
        idle = [asyncio.create_task(made.score(1, known({0: t}), CallOptions())) for t in "ab"]
        await asked.wait()
        late = await made.score(1, known({0: "c"}), CallOptions(deadline=time.monotonic() + 0.01))
        assert shown(late) == ["deadline_exceeded"], "the first holds the only window of its kind"
        assert shown(await made.score(1, known({0: "d"}), CallOptions(priority=1))) == [100.0]
        opened.set()
        assert [shown(items) for items in await asyncio.gather(*idle)] == [[97.0], [98.0]]

    asyncio.run(scenario())
