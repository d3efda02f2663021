"""HTTP client of a reward service, for trainers without Ray; `AsyncHttpClient` for asyncio.

    results = HttpClient("http://host:8000", key).score([(prompt, response)])

Calls are those of `RewardService`, so that one can replace the other: a Score or a RewardError for
each conversation, in order; a service that is busy, starting or silent is asked again. Calls of a
client share its connections. Needs no Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from cluster.errors import NotReady, RewardError, Unauthorized
from cluster.serving.client.address import Address
from cluster.serving.client.answer import Answer
from cluster.serving.client.score_call import HEADERS, PATH, ScoreCall
from cluster.serving.scoring.transformed import Transforms
from cluster.types import Conversation, ModelInfo, Score

URL = "http://127.0.0.1:8000"
"""The default address of `reward-cluster serve`."""
PATIENCE_S = 600.0
CONNECT_S = 10.0
"""Seconds for a connection; one that takes longer is retried."""


class HttpClient:
    """Thread-safe. Connections are closed by `with HttpClient(url) as client`, by `close`, or when
    the client is garbage-collected."""

    def __init__(
        self,
        url: str = URL,
        key: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        client: httpx.Client | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """key: API key of the service, if it requires one.
        patience_s: seconds for which a service that is busy or silent is asked again.
        client: of httpx, instead of one for `url` and `key`; its own timeouts hold.
        pause: between two attempts.

        Raises ConfigError for an address, a key or a proxy that cannot be used."""
        self._limits_its_calls = client is not None
        self._client = client or _connected(Address.of(url, key))
        self.url = str(self._client.base_url).rstrip("/")
        self._patience_s, self._pause = patience_s, pause

    def score(
        self,
        conversations: Sequence[Conversation],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
        transforms: Transforms = (),
    ) -> list[Score | RewardError]:
        """The score or the error of each, in order; strict raises the first error instead.
        transforms: see `RewardClient`.

        Raises NotReady (no reward service answered for `patience_s`), Unauthorized, and the error
        of a call that is malformed as a whole. What is wrong with one conversation is its result.
        """
        terms = priority, deadline_s, transforms
        call = ScoreCall(self.url, conversations, self._patience_s, *terms)
        while (body := call.next_body()) is not None:
            try:
                call.take(self._post(body, call.limit_s))
            except httpx.HTTPError as error:
                call.failed(error)
            if call.pause_s:
                self._pause(call.pause_s)
        return call.results(strict)

    def ready(self) -> bool:
        """Whether a replica serves now; False also if nothing answers. Asks once."""
        try:
            return self._client.get("/readyz", timeout=CONNECT_S).status_code == 200
        except httpx.HTTPError:
            return False

    def model(self) -> ModelInfo:
        """The served model. Asks once. Raises NotReady, Unauthorized."""
        try:
            answer = self._client.get("/v1/model", timeout=CONNECT_S)
        except httpx.HTTPError as error:
            raise NotReady(f"{self.url} does not answer: {error}") from error
        if answer.status_code in (401, 403):
            raise Unauthorized(f"{self.url} wants another API key")
        if answer.status_code != 200:
            raise NotReady(f"{self.url} answered {answer.status_code} for its model")
        names = ModelInfo.__dataclass_fields__
        try:
            found = answer.json()
            return ModelInfo(**{name: found[name] for name in names if name in found})
        except (ValueError, TypeError) as error:
            raise NotReady(f"{self.url} answered not as a reward service") from error

    def close(self) -> None:
        self._client.close()

    def _post(self, body: bytes, limit_s: float) -> Answer:
        options: dict[str, Any] = {"headers": HEADERS}
        if not self._limits_its_calls:
            options["timeout"] = httpx.Timeout(limit_s, connect=min(limit_s, CONNECT_S))
        found = self._client.post(PATH, content=body, **options)
        return Answer(found.status_code, found.content, found.headers.get("Retry-After"))

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # the interpreter may be ending
            return


def _connected(address: Address) -> httpx.Client:
    return httpx.Client(
        base_url=address.url,
        headers=address.headers,
        proxy=address.proxy,
        trust_env=False,  # what it would find there is in the address
        verify=address.certificates() or False,
        limits=httpx.Limits(max_connections=None),
    )
