"""HTTP ingress deployment: encodes conversations and has the batcher score them.

Serve's proxy puts the request id into every request and answer, so the app leaves that header
alone. Knows nothing of queues, batches or devices.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from cluster.config import ClusterConfig
from cluster.errors import ConfigError, InvalidInput, NotReady, RevisionChanged, RewardError
from cluster.serving.batching.batcher_client import BatcherClient
from cluster.serving.call_options import CallOptions
from cluster.serving.config_checks import open_problem
from cluster.serving.fresh import Fresh
from cluster.serving.health_probe import FRESH_S, ModelProbe
from cluster.serving.http import unary_answer
from cluster.serving.http.api_keys import KeyDigest, KeyRing
from cluster.serving.http.app import build_http_app
from cluster.serving.http.early_body import EarlyBodyReceiver
from cluster.serving.http.inspector import TokenizedChat, tokenized
from cluster.serving.http.request_limit import RequestLimit
from cluster.serving.http.row_scorer import RowScorer
from cluster.serving.logs import event
from cluster.serving.metrics import ServingMetrics
from cluster.serving.names import DRAINING, REPLICA
from cluster.serving.ray_metrics import RaySink
from cluster.serving.scoring.conversation_scorer import ConversationScorer
from cluster.serving.scoring.served_encoder import ServedEncoder
from cluster.serving.status import Snapshot, read_status
from cluster.types import Conversation, ModelInfo, Score

NOBODY = KeyDigest(b"", b"")
"""Matches no key: an Ingress is closed until it gets its keys."""


class ServiceScorer:
    """A `Scorer` over the app's batcher, from within the app."""

    def __init__(self, app: str, max_tokens: int, metrics: ServingMetrics) -> None:
        """max_tokens: of one request."""
        self._app, self._max_tokens = app, max_tokens
        self._scorer = ConversationScorer(BatcherClient(app, patient=False), max_tokens)
        self._metrics = metrics
        self._probe = ModelProbe(serve.get_deployment_handle(REPLICA, app))

    async def score(
        self, conversations: Sequence[Conversation], *, priority: int, deadline_s: float
    ) -> list[Score | RewardError]:
        terms = CallOptions(priority, time.monotonic() + deadline_s)
        results = await self._scorer.score(len(conversations), _at_once(conversations), terms)
        own = InvalidInput | RevisionChanged
        self._count(result for result in results if isinstance(result, own))
        return results

    async def info(self) -> ModelInfo:
        return await self._probe.info()

    async def ready(self) -> bool:
        try:
            await self.info()
        except NotReady:
            return False
        return True

    def inspector(self) -> ServiceInspector:
        """Of the same app, with the same encoder."""
        return ServiceInspector(self._app, self._scorer.encoder, self._max_tokens)

    def _count(self, errors: Iterable[RewardError]) -> None:
        """Count errors of this process; the batcher counts its own."""
        for code, n in Counter(error.code for error in errors).items():
            self._metrics.error(code, n)


class ServiceInspector:
    """An `Inspector` of the app that this process belongs to."""

    def __init__(self, app: str, encoder: ServedEncoder, max_tokens: int) -> None:
        """max_tokens: of one request."""
        self._encoder = encoder
        self._max_tokens = max_tokens
        self._state = Fresh(functools.partial(read_status, app), FRESH_S)

    async def tokenize(
        self, conversations: Sequence[Conversation], *, deadline_s: float
    ) -> list[TokenizedChat | RewardError]:
        encoder = await self._encoder.refresh(time.monotonic() + deadline_s)
        return await asyncio.to_thread(tokenized, encoder, conversations, self._max_tokens)

    async def status(self) -> Snapshot:
        return await self._state.get()


async def _at_once(conversations: Sequence[Conversation]) -> AsyncIterator[Mapping[int, Any]]:
    yield dict(enumerate(conversations))


@serve.ingress()
class Ingress:
    """One process of the HTTP side; several share the load, since they hold no state."""

    def __init__(self, batcher: DeploymentHandle[Any], config: ClusterConfig) -> None:
        """Loads no tokenizer: the first request loads that of the served model."""
        self._metrics = metrics = ServingMetrics(RaySink())
        scorer = ServiceScorer(batcher.app_name, config.http.max_tokens_per_request, metrics)
        self._config = config
        self._keys = KeyRing([NOBODY])
        self._door = RequestLimit(config.http)
        self._rows = RowScorer(batcher.app_name, metrics)
        self._app = build_http_app(
            scorer,
            config.http,
            metrics,
            inspector=scorer.inspector(),
            keys=self._keys,
            door=self._door,
            echo_request_id=False,
        )

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take the keys from `user_config`, and whether new requests are refused; called by Serve
        before the first request and again at each deploy that changes it. Raises ConfigError rather
        than open a locked service."""
        keys = KeyRing.from_user_config(user_config, self._config.http)
        client: Any = serve.context._get_global_client()
        host: str = client.http_config.host
        if problem := open_problem(self._config, host, len(keys)):
            raise ConfigError(problem)
        self._keys.replace(keys)
        self._door.draining = bool(user_config.get(DRAINING))
        event("http_access", access=str(keys), host=host)

    async def errors(self) -> Counter[str]:
        """Items and calls that ended here with an error, by code; batchers count their own."""
        return self._metrics.totals.errors

    def record_replica_metadata(self) -> dict[str, int]:
        """Called by Serve, which tells every proxy."""
        return unary_answer.ABILITY

    async def answer(self, request: bytes) -> bytes:
        """A whole request in one call; see `unary_answer`."""
        return await unary_answer.answer(self._app, request)

    async def n_inside(self) -> int:
        """Requests that were accepted and are not answered yet."""
        return self._door.n_inside + self._rows.n_inside

    async def score_row(self, row: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """One answer: the score of a row of a data set, see `RowScorer`. For handles, as Ray Data's
        `ServeDeploymentProcessorConfig` calls them. Raises the row's RewardError."""
        if self._door.draining:
            raise NotReady("the service is shutting down and accepts nothing new; use another")
        yield await self._rows.score(row)

    def __serve_build_asgi_app__(self) -> FastAPI:
        self._app.add_middleware(EarlyBodyReceiver)
        return self._app
