"""The Ray actor that rollout workers call, and ways to reach it.

    client = connect()                              # finds or creates the actor
    ref = client.score.remote(conversations)        # an ObjectRef of the caller's, at once
    scores = ray.get(ref)                           # list[Score | RewardError], in order

Methods return values, so the caller owns the future: a restarted actor re-runs the call and the
caller notices only latency. An item that cannot be scored is its RewardError in the list, never a
number; `strict=True` raises the first one instead. `score_stream` alone is not re-run by Ray (its
order is that of completion, which a re-run would not repeat): `RewardService.stream` asks again
for what is missing.

Knows the tokenizer and the batcher's handle; nothing of queues or devices.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.errors import InvalidInput, RewardError
from cluster.serving.names import APP, NAMESPACE
from cluster.serving.retry import LOST, plain
from cluster.serving.submit import Submitter
from cluster.types import Chat, Conversation, Encoding, Score

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from cluster.engine.chat import ChatEncoder

Item = Score | RewardError
Ref = ray.ObjectRef[Any]


class RewardClient:
    """Encodes conversations and has them scored; one actor serves many callers at once.

    Everywhere: `priority` higher is sooner; `deadline_s` counts from the call, after it the
    unscored items are DeadlineExceeded; None waits as long as the service needs. While the
    service is full, starting or recovering, the actor waits and asks again.
    """

    def __init__(self, app: str = APP) -> None:
        self._submitter = Submitter(app)
        self._encoder: ChatEncoder | None = None
        self._loading = asyncio.Lock()

    async def score(
        self,
        conversations: Sequence[Conversation | Ref],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
    ) -> list[Item]:
        """Rewards in order. `conversations`, or any item of it, may be an ObjectRef."""
        deadline = _deadline(deadline_s)
        encodings = await self._encode(conversations, deadline)
        items: list[Encoding | Item] = list(encodings)
        async for i, item in self._submitter.results(_sound(encodings), priority, deadline):
            items[i] = item
        return _finished(items, strict)

    async def score_group(
        self,
        prompt: Chat,
        responses: Sequence[str],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
    ) -> list[Item]:
        """One reward a response; the prompt is computed once for all of them."""
        group: list[Conversation | Ref] = [(prompt, response) for response in responses]
        return await self.score(group, priority, deadline_s, strict)

    async def score_stream(
        self,
        conversations: Sequence[Conversation | Ref],
        priority: int = 0,
        deadline_s: float | None = None,
    ) -> AsyncIterator[tuple[int, Item]]:
        """(index, result) as each completes; call with `.options(num_returns="streaming")`."""
        deadline = _deadline(deadline_s)
        encodings = await self._encode(conversations, deadline)
        for i, encoding in enumerate(encodings):
            if isinstance(encoding, RewardError):
                yield i, encoding
        stream = self._submitter.results(_sound(encodings), priority, deadline, stream=True)
        async for i, item in stream:
            yield i, item

    async def ready(self, deadline_s: float | None = None) -> str:
        """The served model's revision, once a replica can score and this actor can encode."""
        deadline = _deadline(deadline_s)
        await self._load_encoder(deadline)
        return (await self._submitter.model_info(deadline)).revision

    async def _encode(
        self, conversations: Sequence[Conversation | Ref], deadline: float | None
    ) -> list[Encoding | RewardError]:
        if isinstance(conversations, str) or not isinstance(conversations, Sequence):
            raise InvalidInput("conversations must be a list, one item for each reward wanted")
        resolved = await asyncio.gather(*(_resolve(item) for item in conversations))
        encoder = self._encoder or await self._load_encoder(deadline)
        return await asyncio.to_thread(encoder.encode_all, resolved)

    async def _load_encoder(self, deadline: float | None) -> ChatEncoder:
        async with self._loading:
            if self._encoder is None:
                from cluster.engine.chat import ChatEncoder

                config = (await self._submitter.served(deadline)).engine
                self._encoder = await asyncio.to_thread(ChatEncoder.load, config)
            return self._encoder


async def _resolve(item: Any) -> Any:
    return await item if isinstance(item, ray.ObjectRef) else item


def _deadline(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else time.monotonic() + deadline_s


def _sound(encodings: Sequence[Encoding | RewardError]) -> dict[int, Encoding]:
    return {i: e for i, e in enumerate(encodings) if isinstance(e, Encoding)}


def _finished(items: Sequence[Encoding | Item], strict: bool) -> list[Item]:
    finished = [item for item in items if not isinstance(item, Encoding)]
    assert len(finished) == len(items), "every item ends with a result"
    error = next((item for item in finished if isinstance(item, RewardError)), None)
    if strict and error is not None:
        raise error
    return finished


def connect(
    app: str = APP, *, name: str = "reward", per_node: bool = False, detached: bool = True
) -> ActorHandle[RewardClient]:
    """Find the client actor `name`, or create it; from any Ray job, in namespace `NAMESPACE`.

    per_node: an actor for the caller's node (name@node), so that no actor is a single bottleneck.
    detached: outlives the job that creates it; otherwise it ends with its creator.
    """
    options: dict[str, Any] = {"name": name}
    if per_node:
        node = ray.get_runtime_context().get_node_id()
        where = NodeAffinitySchedulingStrategy(node_id=node, soft=True)
        options = {"name": f"{name}@{node}", "scheduling_strategy": where}
    actor = ray.remote(RewardClient).options(
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached" if detached else None,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=1000,
        **options,
    )
    return cast("ActorHandle[RewardClient]", actor.remote(app))


class RewardService:
    """The plain synchronous facade for scripts.

    RewardService().score(conversations) -> list[Score | RewardError]
    """

    def __init__(self, app: str = APP, *, client: ActorHandle[RewardClient] | None = None) -> None:
        self.client: Any = client if client is not None else connect(app)

    def score(
        self,
        conversations: Sequence[Conversation],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
    ) -> list[Item]:
        """As `RewardClient.score`, waiting for the answer."""
        ref = self.client.score.remote(list(conversations), priority, deadline_s, strict)
        try:
            items: list[Item] = ray.get(ref)
        except RewardError as error:
            raise plain(error) from None
        return items

    def stream(
        self,
        conversations: Sequence[Conversation],
        priority: int = 0,
        deadline_s: float | None = None,
    ) -> Iterator[tuple[int, Item]]:
        """(index, result) as each completes, each exactly once whatever dies meanwhile."""
        deadline = _deadline(deadline_s)
        missing = dict(enumerate(conversations))
        while missing:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            index = list(missing)
            call = self.client.score_stream.options(num_returns="streaming", max_task_retries=0)
            with contextlib.suppress(*LOST):
                for ref in call.remote(list(missing.values()), priority, left):
                    i, item = ray.get(ref)
                    del missing[index[i]]
                    yield index[i], item if isinstance(item, Score) else item.at(index[i])
