"""A steady load on a service, and the check that everything asked has its right answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from support.serving import PATIENCE_S, sequences, until

from cluster.errors import RewardError
from cluster.serving.replica.backends import fake_reward
from cluster.types import Score, TokenIds


class Load:
    """Calls of 16 sequences, a fixed number of them open at any time, until stopped."""

    def __init__(self, client: Any, open_calls: int = 6) -> None:
        self._client = client
        self._open_calls = open_calls
        self._rng = np.random.default_rng(0)
        self._stop = threading.Event()
        self.asked: dict[Any, list[TokenIds]] = {}
        self.answers: dict[Any, list[Score | RewardError]] = {}
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        pending: list[Any] = []
        while not self._stop.is_set() or pending:
            while len(pending) < self._open_calls and not self._stop.is_set():
                ids = sequences(16, self._rng)
                ref = self._client.score.remote(ids, 0, PATIENCE_S)
                self.asked[ref] = ids
                pending.append(ref)
            done, pending = ray.wait(pending, timeout=PATIENCE_S + 30)
            assert done, "a future hangs"
            for ref in done:
                self.answers[ref] = ray.get(ref)

    def wait_for(self, n_calls: int) -> None:
        """Until `n_calls` more calls have been answered."""
        target = len(self.answers) + n_calls
        until(lambda: len(self.answers) >= target)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S + 60)
        assert not self._thread.is_alive(), "a future hangs"

    def check(self, revisions: set[str]) -> None:
        """Every call answered, every reward the right one of the weights it names."""
        assert set(self.answers) == set(self.asked)
        for ref, answer in self.answers.items():
            for ids, item in zip(self.asked[ref], answer, strict=True):
                assert isinstance(item, Score)
                assert item.revision in revisions
                assert item.reward == fake_reward(ids, item.revision)


@contextmanager
def load(client: Any, revisions: Sequence[str] = ("r1",)) -> Iterator[Load]:
    """A steady load round a failure; afterwards everything asked has its right answer."""
    running = Load(client)
    running.start()
    try:
        running.wait_for(6)
        yield running
        running.wait_for(12)
    finally:
        running.stop()
    running.check(set(revisions))
