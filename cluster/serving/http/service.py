"""HTTP service: what the routes of every dialect share, and the results of a query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from cluster.config import HttpConfig
from cluster.data.call_results import valid_items, with_errors
from cluster.errors import InvalidInput, RewardError
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.http.body_reader import BodyReader
from cluster.serving.http.json_body import parse_object
from cluster.serving.http.request_limit import RequestLimit
from cluster.serving.http.request_parser import ScoreQuery
from cluster.serving.http.scorer import Scorer
from cluster.serving.metrics import ServingMetrics
from cluster.serving.scoring.transformed import with_transformed
from cluster.types import Conversation, Score

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes of every dialect share."""

    scorer: Scorer
    config: HttpConfig
    metrics: ServingMetrics
    keys: KeyRing
    door: RequestLimit
    bodies: BodyReader

    async def body(self, request: Request) -> dict[str, Any]:
        """The request's JSON object, within the limits."""
        return parse_object(await self.bodies.read(request))

    async def ready(self) -> bool:
        """Whether a replica serves now, and something new may be asked for."""
        return not self.door.draining and await self.scorer.ready()

    async def results(self, query: ScoreQuery) -> list[Score | RewardError]:
        """A result for each requested item, in order. Raises NotReady or Overloaded if no request
        is accepted now."""
        with self.door.passed(query.least_tokens):
            scored = await self.each_valid(
                query,
                lambda valid: self.scorer.score(
                    valid, priority=query.priority, deadline_s=query.deadline_s
                ),
            )
        return with_transformed([w.conversation for w in query.wanted], scored, query.transforms)

    async def each_valid(
        self,
        query: ScoreQuery,
        do: Callable[[list[Conversation]], Awaitable[Sequence[T | RewardError]]],
    ) -> list[T | RewardError]:
        """The results of `do` for the valid items, with the other items' errors at their places."""
        conversations: list[Conversation | InvalidInput] = [w.conversation for w in query.wanted]
        for one in conversations:
            if isinstance(one, RewardError):
                self.metrics.error(one.code)
        valid: list[Conversation] = valid_items(conversations)
        return with_errors(conversations, await do(valid) if valid else ())
