"""Chaos callers: steady, streaming, leaving early, invalid and HTTP, each checked by the ledger.

Each method of `Callers.kinds` makes one call and returns when the call has ended, whatever breaks
meanwhile.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import ray

from cluster.bench.chaos.ledger import Ask, Ledger
from cluster.bench.chaos.world import BESIDE, ROLLING, World
from cluster.errors import InvalidInput, RewardError, all_error_classes
from cluster.serving.client.connect import RewardService
from cluster.types import Score

PATIENCE_S = 300.0
"""Seconds after which an unanswered call counts as hanging. Replicas that load a model on a busy
machine may take minutes, which is no fault of the service."""
FLOOD_CALLS = 40
TRICKLE_S = 2.0


class Callers:
    """The calls of one thread."""

    def __init__(self, world: World, ledger: Ledger, seed: int) -> None:
        self._world = world
        self._ledger = ledger
        self._rng = random.Random(seed)
        self._services = {app: RewardService(app) for app in (ROLLING, BESIDE)}

    def kinds(self) -> list[tuple[Callable[[], None], int]]:
        """The kinds of calls with their weights."""
        return [
            (self.steady, 8),
            (self.beside, 3),
            (self.stream, 3),
            (self.leave, 2),
            (self.bad_priority, 1),
            (self.bad_reference, 1),
            (self.over_http, 4),
        ]

    def any(self) -> None:
        """Make a call of a kind drawn by weight."""
        calls, weights = zip(*self.kinds(), strict=True)
        self._rng.choices(calls, weights)[0]()

    def steady(self) -> None:
        """Score conversations through the client actor."""
        self._scored(self._ask("score", ROLLING, 16))

    def beside(self) -> None:
        """The same for the app that is never attacked."""
        self._scored(self._ask("score", BESIDE, 8))

    def stream(self) -> None:
        """Take results as they complete, each exactly once."""
        ask = self._ask("stream", ROLLING, 24)
        got: dict[int, Any] = {}
        try:
            for i, item in self._services[ROLLING].stream(self._chats(ask), 0, PATIENCE_S):
                if i in got:
                    self._ledger.violate(f"stream: item {i} came twice")
                got[i] = item
        except Exception as error:
            self._ledger.broke(ask, error)
        else:
            answers = [got[i] for i in sorted(got)]
            self._ledger.answered(ask, answers, self._world.serving(ask.app))

    def leave(self) -> None:
        """Take a few results and leave."""
        ask = self._ask("leave", ROLLING, 48)
        got: dict[int, Any] = {}
        arrivals = self._services[ROLLING].stream(self._chats(ask), 0, PATIENCE_S)
        try:
            for i, item in arrivals:
                got[i] = item
                if len(got) == 4:
                    break
        except Exception as error:
            self._ledger.broke(ask, error)
        else:
            self._ledger.abandoned(ask, got)
        finally:
            arrivals.close()  # type: ignore[attr-defined]

    def bad_priority(self) -> None:
        """A bad priority must be refused and must not harm other calls."""
        ask = self._ask("bad priority", ROLLING, 1, must_fail=(0,))
        try:
            priority: Any = self._rng.choice([10**400, "high", float("nan"), 10**9])
            self._services[ROLLING].score(self._chats(ask), priority, PATIENCE_S)
        except InvalidInput as error:
            self._ledger.answered(ask, [error], self._world.serving(ask.app))
        except Exception as error:
            self._ledger.broke(ask, error)
        else:
            self._ledger.violate("a bad priority was taken")

    def bad_reference(self) -> None:
        """One item is the result of a failed task; the others must be scored."""
        ask = self._ask("failed reference", ROLLING, 6, must_fail=(3,))
        items: list[Any] = self._chats(ask)
        items[3] = _fails.remote()
        self._scored(ask, items)

    def over_http(self) -> None:
        """Retry what HTTP callers should retry: 429, 503, 504 and a broken connection."""
        ask = self._ask("HTTP", ROLLING, 8)
        chats = [{"messages": chat} for chat in self._chats(ask)]
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                url = f"http://127.0.0.1:{self._world.http_port}/v1/score"
                answer = httpx.post(url, json={"conversations": chats}, timeout=30)
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code == 200:
                results = [_item(each) for each in answer.json()["results"]]
                if not any(isinstance(each, RewardError) and each.retryable for each in results):
                    self._ledger.answered(ask, results, self._world.serving(ask.app))
                    return
            elif answer.status_code not in (429, 503, 504):
                self._ledger.broke(ask, RuntimeError(f"{answer.status_code} {answer.text[:200]}"))
                return
            time.sleep(0.2)
        self._ledger.broke(ask, TimeoutError("no answer over HTTP"))

    def flood(self) -> None:
        """One steady call, a pause, then far more at once than the queue holds."""
        self.steady()
        time.sleep(TRICKLE_S)
        asks = [self._ask("flood after trickle", ROLLING, 64) for _ in range(FLOOD_CALLS)]
        client = self._services[ROLLING].client
        refs = [client.score.remote(self._chats(ask), 0, PATIENCE_S) for ask in asks]
        for ask, ref in zip(asks, refs, strict=True):
            try:
                answers = ray.get(ref, timeout=PATIENCE_S + 30)
            except Exception as error:
                self._ledger.broke(ask, error)
            else:
                self._ledger.answered(ask, answers, self._world.serving(ask.app))

    def _scored(self, ask: Ask, items: Sequence[Any] | None = None) -> None:
        try:
            answers = self._services[ask.app].score(items or self._chats(ask), 0, PATIENCE_S)
        except Exception as error:
            self._ledger.broke(ask, error)
        else:
            self._ledger.answered(ask, answers, self._world.serving(ask.app))

    def _ask(self, kind: str, app: str, n: int, must_fail: Sequence[int] = ()) -> Ask:
        numbers = self._rng.choices(range(len(self._world.conversations)), k=n)
        ask = Ask(kind, app, numbers, self._world.serving(app), must_fail)
        self._ledger.asked(ask)
        return ask

    def _chats(self, ask: Ask) -> list[Any]:
        return [self._world.conversations[i] for i in ask.items]


@ray.remote(num_cpus=0)
def _fails() -> None:
    raise ValueError("this reference holds no conversation")


def _item(entry: dict[str, Any]) -> Score | RewardError:
    if "error" in entry:
        found = entry["error"]
        classes = {each.code: each for each in all_error_classes()}
        return classes[found["code"]](found["message"], found["item"])
    return Score(**{name: entry[name] for name in Score.__dataclass_fields__ if name in entry})
