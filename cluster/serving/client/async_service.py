"""Asynchronous service client on Ray: `RewardService` for trainers whose own code is asyncio.

    service = AsyncRewardService()
    results = await service.score([(prompt, response)])

Any number of calls at a time, from any event loop. Single results as they complete come from the
actor itself: `async for ref in connect().score_stream...`, see the clients' page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ray
from ray.exceptions import ActorDiedError

from cluster.errors import RewardError
from cluster.serving.batching.retry import unwrap_ray_error
from cluster.serving.client.actor import Item, RewardClient
from cluster.serving.client.connect import RewardService
from cluster.serving.client.patience import all_late, patience_s
from cluster.serving.deadline import Deadline
from cluster.serving.names import APP
from cluster.serving.scoring.transformed import Transforms
from cluster.types import Conversation

if TYPE_CHECKING:
    from ray.actor import ActorHandle


class AsyncRewardService:
    """client: a client actor other than this job's; once it is gone, calls raise NotReady."""

    def __init__(self, app: str = APP, *, client: ActorHandle[RewardClient] | None = None) -> None:
        self._service = RewardService(app, client=client)

    async def score(
        self,
        conversations: Sequence[Conversation],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
        transforms: Transforms = (),
    ) -> list[Item]:
        """As `RewardService.score`; cancelling the task cancels the call."""
        deadline = Deadline.after(deadline_s)
        try:
            return await self._score(list(conversations), priority, deadline, strict, transforms)
        except ActorDiedError as error:
            await asyncio.to_thread(self._service.reconnect, error, deadline)
            return await self._score(list(conversations), priority, deadline, strict, transforms)

    async def _score(
        self,
        items: list[Conversation],
        priority: int,
        deadline: Deadline | None,
        strict: bool,
        transforms: Transforms,
    ) -> list[Item]:
        ref = self._service.submit(items, priority, deadline, strict, transforms)
        try:
            answer: list[Item] = await asyncio.wait_for(ref, patience_s(deadline))
        except RewardError as error:
            raise unwrap_ray_error(error) from None
        except TimeoutError:
            ray.cancel(ref)
            return all_late(len(items), strict)
        except BaseException:
            ray.cancel(ref)
            raise
        return answer
