"""Run as a program: how far one request of each kind lets a process grow.

    python -m support.memory    prints {"kind", "status", "body_bytes", "grown_bytes"} a kind

Each kind is measured in a fork of its own, made once everything is loaded. The HTTP app and the
encoding are the service's own; the batcher is replaced by a pure function.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from support.http import INFO, score_of

from cluster.config import EngineConfig, HttpConfig
from cluster.errors import RewardError
from cluster.serving.call_options import CallOptions
from cluster.serving.http.app import build_http_app
from cluster.serving.protocol import ServedModel
from cluster.serving.scoring.conversation_scorer import ConversationScorer
from cluster.types import Conversation, EncodedBatch, Encoding, ModelInfo, Score

WORDS = "the quick brown fox jumps over the lazy dog again "
PIECE = 65536
KINDS: dict[str, Any] = {
    # Half a megabyte that asks for 500 million tokens: the finding.
    "long prompt, 4000 responses": lambda: {
        "prompt": WORDS * 10_000,
        "responses": [f"r{i}" for i in range(4000)],
    },
    # As many tokens as are encoded before the limit is found: the worst.
    "prompt, 4000 long responses": lambda: {
        "prompt": WORDS * 80,
        "responses": [f"r{i} {WORDS * 20}" for i in range(4000)],
    },
    # One text, as long as a body may be.
    "text without end": lambda: {"prompt": WORDS * 160_000, "responses": ["yes"]},
    "150000 messages, 1000 responses": lambda: {
        "prompt": [{"role": "user", "content": ""}] * 150_000,
        "responses": [f"r{i}" for i in range(1000)],
    },
}


class BatcherClient:
    """Builds what would be sent to the batcher, and answers itself."""

    async def served(self, deadline: float | None) -> ServedModel:
        return ServedModel(INFO, EngineConfig())

    async def results(
        self, encodings: Mapping[int, Encoding], *rest: Any
    ) -> AsyncIterator[tuple[int, Score | RewardError]]:
        batch = EncodedBatch.from_encodings(list(encodings.values()))
        await asyncio.sleep(0.01)
        del batch
        for i, encoding in encodings.items():
            yield i, score_of(encoding)


class Scorer:
    """As the Ingress has it."""

    def __init__(self, config: HttpConfig) -> None:
        submitter: Any = BatcherClient()
        self._scorer = ConversationScorer(submitter, config.max_tokens_per_request)

    async def score(
        self, conversations: Sequence[Conversation], *, priority: int, deadline_s: float
    ) -> list[Score | RewardError]:
        async def at_once() -> AsyncIterator[Mapping[int, Any]]:
            yield dict(enumerate(conversations))

        terms = CallOptions(priority, time.monotonic() + deadline_s)
        return await self._scorer.score(len(conversations), at_once(), terms)

    async def info(self) -> ModelInfo:
        return INFO

    async def ready(self) -> bool:
        return True


async def status_of(app: Any, path: str, body: bytes) -> int:
    """Of a POST whose body arrives in pieces."""
    pieces = iter(range(0, len(body), PIECE))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        start = next(pieces)
        more = start + PIECE < len(body)
        return {"type": "http.request", "body": body[start : start + PIECE], "more_body": more}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return int(sent[0]["status"])


def peak_bytes() -> int:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def chats() -> dict[str, Any]:
    """As many and as long as the default limits let in."""
    pairs = ((f"{i} {WORDS * 20}", WORDS * 18) for i in range(4096))
    return {"conversations": [{"prompt": prompt, "response": said} for prompt, said in pairs]}


def measured(app: Any, kind: str) -> dict[str, Any]:
    """The status and the growth."""
    path, made = ("/v1/score", chats()) if kind == "chats" else ("/v1/rank", KINDS[kind]())
    body = json.dumps(made).encode()
    del made
    before = peak_bytes()
    status = asyncio.run(status_of(app, path, body))
    grown = peak_bytes() - before
    return {"kind": kind, "status": status, "body_bytes": len(body), "grown_bytes": grown}


if __name__ == "__main__":
    app = build_http_app(Scorer(HttpConfig()), HttpConfig())
    asyncio.run(status_of(app, "/v1/rank", b'{"prompt": "a", "responses": ["b"]}'))  # the tokenizer
    for each in [*KINDS, "chats"]:
        if (child := os.fork()) == 0:
            print(json.dumps(measured(app, each)), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
