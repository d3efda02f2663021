"""Served encoder: the tokenizer of the model that replicas serve, reloaded when it changes.

One per process that encodes. A caller whose ids were refused as another model's (EncoderChanged)
has the encoder refreshed; so does one that is about to refuse an item, since a stale encoder may
refuse what the served model accepts. Knows nothing of scoring.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import DeadlineExceeded, ModelRefused, RewardError
from cluster.serving.protocol import ServedModel

logger = logging.getLogger(__name__)

KEPT = 2
"""Encoders kept: during a roll the replicas serve two models alternately."""
CONFIRMED_S = 1.0
"""Seconds for which an encoder that was confirmed as the served one is not checked again."""
PATIENCE_S = 2.0
"""Seconds for the service to say what it serves; after that a refusal is returned unconfirmed."""

Serving = Callable[[float | None], Awaitable[ServedModel]]
"""Asks the service what it serves, until a deadline on `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class _Held:
    encoder: ChatEncoder
    engine: EngineConfig

    def is_of(self, served: ServedModel) -> bool:
        """A backend without a fingerprint (`sleep`) is identified by its config alone."""
        made_by = served.info.encoder
        return self.encoder.fingerprint == made_by if made_by else self.engine == served.engine


class ServedEncoder:
    """`get` the encoder; `refresh` it when its ids were refused."""

    def __init__(
        self, serving: Serving, load: Callable[[EngineConfig], ChatEncoder] = ChatEncoder.load
    ) -> None:
        self._serving = serving
        self._load = load
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._refreshing: asyncio.Task[None] | None = None
        self._confirmed = -CONFIRMED_S

    async def get(self, deadline: float | None) -> ChatEncoder:
        """The current one; the first call loads it. Raises DeadlineExceeded or ModelRefused."""
        if not self._held:
            await self.refresh(deadline)
        return self._current.encoder

    async def refresh(self, deadline: float | None) -> ChatEncoder:
        """The encoder of the model that is served now. One caller loads it for all that wait, each
        up to its own deadline. Raises DeadlineExceeded or ModelRefused."""
        if self._refreshing is None:
            # An empty context: Serve would cancel it with the request that began it.
            self._refreshing = asyncio.create_task(self._refresh(), context=Context())
            self._refreshing.add_done_callback(self._refreshed)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(self._refreshing)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the tokenizer was loaded") from None
        return self._current.encoder

    async def confirmed(self, encoder: ChatEncoder, deadline: float | None) -> bool:
        """Whether `encoder` is the served one, as far as the service can say quickly."""
        if time.monotonic() < self._confirmed + CONFIRMED_S and encoder is self._current.encoder:
            return True
        soon = time.monotonic() + PATIENCE_S
        try:
            return await self.refresh(soon if deadline is None else min(soon, deadline)) is encoder
        except RewardError:
            return True

    @property
    def _current(self) -> _Held:
        return next(reversed(self._held.values()))

    async def _refresh(self) -> None:
        served = await self._serving(None)
        found = next((held for held in self._held.values() if held.is_of(served)), None)
        if found is None:
            found = await asyncio.to_thread(self._loaded, served)
            logger.info("encoding for %s at %s", served.info.model, served.info.revision)
        self._held[found.encoder.fingerprint] = found
        self._held.move_to_end(found.encoder.fingerprint)
        while len(self._held) > KEPT:
            self._held.popitem(last=False)
        self._confirmed = time.monotonic()

    def _loaded(self, served: ServedModel) -> _Held:
        """Raises ModelRefused if this machine's files encode differently from the replica's."""
        held = _Held(self._load(served.engine), served.engine)
        if not held.is_of(served):
            raise ModelRefused(
                f"the tokenizer of {served.engine.model!r} gives different ids here than on the "
                "replicas: give both the same files and the same versions of transformers and "
                "tokenizers"
            )
        return held

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # told to those who waited; nobody may have
