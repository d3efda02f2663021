"""HTTP scorer: a reward service by its URL (`POST /v1/score`), retried while it is busy.

Errors of single conversations stay at their place. A service that stays busy, or does not answer as
a reward service, raises NotReady: that is no property of a chat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from cluster.errors import ConfigError, NotReady, RewardError, TooLong, error_of
from cluster.types import Conversation, Score

_PAUSE_S = 1.0


class HttpScorer:
    """client: of httpx, with the service's base URL and key.

    patience_s: how long a service that is busy or silent is asked again.  pause: between two calls.
    """

    def __init__(
        self,
        client: httpx.Client,
        patience_s: float,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client, self._patience_s, self._pause = client, patience_s, pause
        self._url = client.base_url

    @classmethod
    def of(cls, url: str, key: str | None, patience_s: float) -> HttpScorer:
        """Of the service at `url`; key: its API key, if it wants one."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return cls(httpx.Client(base_url=url, headers=headers, timeout=patience_s), patience_s)

    def __call__(self, conversations: Sequence[Conversation]) -> list[Score | RewardError]:
        """The score or the error of each, in order. Raises NotReady, ConfigError (a wrong key).

        A call that is too large as a whole is made in halves.
        """
        try:
            return self._answered(conversations)
        except TooLong:
            if len(conversations) == 1:
                raise
        half = len(conversations) // 2
        return [*self(conversations[:half]), *self(conversations[half:])]

    def _answered(self, conversations: Sequence[Conversation]) -> list[Score | RewardError]:
        body = {"conversations": [as_json(one) for one in conversations]}
        end = time.monotonic() + self._patience_s
        while True:
            try:
                return self._ask(body, len(conversations))
            except (httpx.HTTPError, _Busy) as error:
                if time.monotonic() + _PAUSE_S > end:
                    raise NotReady(
                        f"{self._url} did not answer for {self._patience_s:.0f} s: {error}"
                    ) from error
            self._pause(_PAUSE_S)

    def _ask(self, body: Mapping[str, Any], n: int) -> list[Score | RewardError]:
        answer = self._client.post("/v1/score", json=body)
        try:
            found = answer.json()
        except ValueError:
            found = {}
        if answer.status_code in (401, 403):
            reason = (found.get("error") or {}).get("message", "not authorized")
            raise ConfigError(f"{self._url}: {reason}; give a key with --api-key")
        if "results" in found and len(found["results"]) == n:
            results = [_result(entry) for entry in found["results"]]
            if any(isinstance(one, RewardError) and one.retryable for one in results):
                raise _Busy("some conversations are to be asked again")
            return results
        report = found.get("error") or {}
        if not isinstance(report, dict) or "code" not in report:
            raise NotReady(f"{self._url} answered {answer.status_code}, not as a reward service")
        error = _error(report)
        if error.retryable:
            raise _Busy(str(error))
        raise error


class _Busy(Exception):
    """The service asks to be asked again."""


def as_json(conversation: Conversation) -> dict[str, Any]:
    """A conversation in the service's form."""
    if isinstance(conversation, str):
        return {"text": conversation}
    if isinstance(conversation, tuple):
        return {"prompt": conversation[0], "response": conversation[1]}
    return {"messages": list(conversation)}


def _result(entry: Mapping[str, Any]) -> Score | RewardError:
    if "reward" in entry:
        return Score(**{name: entry[name] for name in Score.__dataclass_fields__})
    return _error(entry["error"])


def _error(report: Mapping[str, Any]) -> RewardError:
    return error_of(report["code"], report.get("message", "no reason given"))
