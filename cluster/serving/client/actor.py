"""Client actor: the Ray actor that rollout workers call.

    ref = client.score.remote(conversations)        # an ObjectRef of the caller's, at once
    scores = ray.get(ref)                           # list[Score | RewardError], in order

Methods return values, so the caller owns the future: a restarted actor re-runs the call and the
caller notices only latency. An item that cannot be scored is its RewardError in the list, never a
number; `strict=True` raises the first one instead. Only `score_stream` is not re-run by Ray,
because a re-run would not repeat its order of completion; `RewardService.stream` asks again for
what is missing.

Deadlines: `deadline_s` counts from when the actor gets the call, and again from when a restarted
actor re-runs it, since an actor cannot know when its caller called. `deadline` is a moment on the
caller's clock (`time.time() + 30`, or a `Deadline`) and includes transit and every re-run;
`RewardService` passes it. Knows nothing of queues or devices.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray

from cluster.errors import InvalidInput, NotReady, RewardError
from cluster.serving.batching.batcher_client import BatcherClient
from cluster.serving.call_options import CallOptions, check_call_options
from cluster.serving.deadline import Deadline, receive
from cluster.serving.jobs import end_with_job
from cluster.serving.names import APP
from cluster.serving.scoring.conversation_scorer import ConversationScorer
from cluster.serving.scoring.object_refs import resolved
from cluster.serving.scoring.transformed import Transforms, parse_transforms
from cluster.serving.scoring.window_scorer import Item
from cluster.types import Chat, Conversation, Score

Ref = ray.ObjectRef[Any]
CONTROL = "control"
"""Concurrency group of `shut`, which answers no matter how many calls are running."""


class RewardClient:
    """Encodes conversations and has them scored; one actor serves many callers at once.

    In every method: `priority` is a whole number within +-1000, higher is sooner; after the
    deadline unscored items are DeadlineExceeded; a deadline of None waits as long as the service
    needs. While the service is full, starting or recovering, the actor waits and asks again. job:
    hex id of the caller's Ray job, whose calls are dropped when it has ended; by default the job
    that the actor belongs to.
    transforms: recorded as `transformed_reward` beside each raw reward, those of groups among the
    call's responses to one prompt: names, {name, parameters}, or TransformConfigs.
    """

    def __init__(self, app: str = APP, job: str = "", ends_with_job: bool = False) -> None:
        """job: the Ray job that the actor belongs to, "" for none; `ends_with_job` ends the actor
        with it."""
        self._submitter = BatcherClient(app)
        self._scorer = ConversationScorer(self._submitter)
        self._job = job
        self._is_shut = False
        self._n_calls = 0
        if job and ends_with_job:
            end_with_job(job)

    async def score(
        self,
        conversations: Sequence[Conversation | Ref],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
        deadline: Deadline | float | None = None,
        job: str = "",
        transforms: Transforms = (),
    ) -> list[Item]:
        """Rewards in order, all of one revision. `conversations`, or any item of it, may be an
        ObjectRef. Raises InvalidInput if the call itself is malformed."""
        n, terms = _length(conversations), self._terms(priority, deadline_s, deadline, job)
        terms = replace(terms, transforms=parse_transforms(transforms))
        with self._inside() as is_open:
            if is_open:
                items = await self._scorer.score(n, resolved(conversations), terms)
            else:
                items = [_ending(i) for i in range(n)]
        error = next((item for item in items if isinstance(item, RewardError)), None)
        if strict and error is not None:
            raise error
        return items

    async def score_group(
        self,
        prompt: Chat | str,
        responses: Sequence[str],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
        deadline: Deadline | float | None = None,
        job: str = "",
        transforms: Transforms = (),
    ) -> list[Item]:
        """One reward per response; the prompt is computed once for all of them. A string prompt is
        one user message."""
        if isinstance(responses, str) or not isinstance(responses, Sequence):
            raise InvalidInput("responses must be a list of strings, one for each reward wanted")
        group: list[Conversation | Ref] = [(prompt, response) for response in responses]
        return await self.score(group, priority, deadline_s, strict, deadline, job, transforms)

    async def score_stream(
        self,
        conversations: Sequence[Conversation | Ref],
        priority: int = 0,
        deadline_s: float | None = None,
        deadline: Deadline | float | None = None,
        job: str = "",
    ) -> AsyncIterator[tuple[int, Item]]:
        """(index, result) as each completes; call with `.options(num_returns="streaming")`. Each
        score names its revision; during a roll two may differ."""
        n, terms = _length(conversations), self._terms(priority, deadline_s, deadline, job)
        with self._inside() as is_open:
            if is_open:
                async for i, item in self._scorer.stream(n, resolved(conversations), terms):
                    yield i, item
            else:
                for i in range(n):
                    yield i, _ending(i)

    async def ready(
        self, deadline_s: float | None = None, deadline: Deadline | float | None = None
    ) -> str:
        """The served model's revision, once a replica can score and this actor can encode.
        Raises DeadlineExceeded."""
        until = self._terms(0, deadline_s, deadline, "").deadline
        await self._scorer.encoder.get(until)
        return (await self._submitter.model_info(until)).revision

    @ray.method(concurrency_group=CONTROL)
    async def shut(self) -> int:
        """Score nothing new from now on, as the service is about to end. Returns how many calls are
        running."""
        self._is_shut = True
        return self._n_calls

    @contextmanager
    def _inside(self) -> Iterator[bool]:
        """Counts a running call; yields whether it may be scored."""
        self._n_calls += 1
        try:
            yield not self._is_shut
        finally:
            self._n_calls -= 1

    def _terms(
        self,
        priority: int,
        deadline_s: float | None,
        deadline: Deadline | float | None,
        job: str,
    ) -> CallOptions:
        """Raises InvalidInput."""
        check_call_options(priority, deadline_s)
        ends = [receive(deadline)]
        if deadline_s is not None:
            ends.append(time.monotonic() + deadline_s)
        end = min((moment for moment in ends if moment is not None), default=None)
        return CallOptions(int(priority), end, job or self._job)


def _ending(i: int) -> NotReady:
    return NotReady("the service is shutting down and accepts nothing new", i)


def _length(conversations: Any) -> int:
    if isinstance(conversations, str) or not isinstance(conversations, Sequence):
        raise InvalidInput("conversations must be a list, one item for each reward wanted")
    return len(conversations)


__all__ = ["Item", "Ref", "RewardClient", "Score"]
