"""Chaos faults: processes killed and frozen, weights rolled, floods.

They are aimed at the app `ROLLING` and at what both apps share: clients, proxy and controller.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter

from cluster.bench.chaos.callers import Callers
from cluster.bench.chaos.ledger import Ledger
from cluster.bench.chaos.processes import pids, send
from cluster.bench.chaos.world import ROLLING, World

PAUSE_S = (1.0, 4.0)
"""Shortest and longest pause between two faults, in seconds."""
FREEZE_S = (2.0, 6.0)
"""Shortest and longest time that a process stays frozen, in seconds."""
ATTACKED = ("Replica", "Batcher", "Client", "Ingress", "Controller", "Proxy")
KINDS = (
    *(f"kill {role}" for role in ATTACKED),
    *(f"freeze {role}" for role in ATTACKED),
    "kill every Replica",
    "roll",
    "roll",
    "flood",
)


class Faults:
    """Injects one fault after the other, each kind once before any is repeated.

    done: how often each kind was injected.
    """

    def __init__(self, world: World, ledger: Ledger, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._world = world
        self._ledger = ledger
        self._rng = random.Random(seed)
        self._callers = Callers(world, ledger, seed)
        self._left: list[str] = []
        self._floods: list[threading.Thread] = []

    def run(self, stop: threading.Event) -> None:
        """Inject faults until `stop` is set, then wait for the floods to end."""
        while not stop.wait(self._rng.uniform(*PAUSE_S)):
            if not self._left:
                self._left = self._rng.sample(KINDS, len(KINDS))
            kind = self._left.pop()
            if self._inflict(kind):
                self.done[kind] += 1
        for flood in self._floods:
            flood.join()

    def _inflict(self, kind: str) -> bool:
        if kind == "roll":
            return self._roll()
        if kind == "flood":
            self._floods.append(threading.Thread(target=self._callers.flood))
            self._floods[-1].start()
            return True
        act, *_, role = kind.split()
        found = pids(role, ROLLING)
        if not found:
            return False
        if "every" in kind:
            return sum(send(pid, signal.SIGKILL) for pid in found) > 0
        victim = self._rng.choice(found)
        return send(victim, signal.SIGKILL) if act == "kill" else self._freeze(victim)

    def _freeze(self, victim: int) -> bool:
        if not send(victim, signal.SIGSTOP):
            return False
        try:
            time.sleep(self._rng.uniform(*FREEZE_S))
        finally:
            send(victim, signal.SIGCONT)
        return True

    def _roll(self) -> bool:
        if not self._world.roll():
            self._ledger.violate("a roll did not reach every replica")
        return True
