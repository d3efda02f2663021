"""Chaos run: callers of every kind for some minutes while faults are injected."""

from __future__ import annotations

import functools
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.bench.chaos.callers import PATIENCE_S, Callers
from cluster.bench.chaos.faults import Faults
from cluster.bench.chaos.ledger import Ledger
from cluster.bench.chaos.processes import Memory
from cluster.bench.chaos.world import BESIDE, ROLLING, World, world
from cluster.serving.status import snapshot
from cluster.types import Conversation, Message

N_CALLERS = 4
LOOK_S = 1.0
LOG_S = 30.0
DRAIN_S = 120.0
WORDS = ("why", "how", "the", "sea", "bread", "red", "small", "runs", "light", "seven", "never")


@dataclass(frozen=True)
class Outcome:
    """Result of a soak.  seconds: during which faults were injected."""

    seconds: float
    ledger: Ledger
    faults: Faults
    memory: Memory


def run_chaos(minutes: float, seed: int, log: Callable[[str], None]) -> Outcome:
    """Run a soak; its violations are in the outcome's ledger.

    seed: of the conversations, calls and faults.  Raises if the service does not start.
    """
    log("the engine scores every conversation offline; two apps start")
    with world(conversations(seed)) as made:
        ledger = Ledger(made.truth)
        return _soak(made, ledger, minutes, seed, log)


def conversations(seed: int, n_prompts: int = 60, n_responses: int = 8) -> list[Conversation]:
    """Chats of a few words, `n_responses` to each prompt."""
    rng = random.Random(seed)

    def words(n: int) -> str:
        return " ".join(rng.choices(WORDS, k=n))

    prompts = [words(rng.randint(3, 30)) for _ in range(n_prompts)]
    return [
        [Message(role="user", content=prompt), Message(role="assistant", content=words(size))]
        for prompt, size in itertools.product(prompts, (3 * i + 2 for i in range(n_responses)))
    ]


def _soak(
    made: World, ledger: Ledger, minutes: float, seed: int, log: Callable[[str], None]
) -> Outcome:
    stop = threading.Event()
    faults, memory = Faults(made, ledger, seed), Memory([ROLLING, BESIDE])
    callers = [Callers(made, ledger, seed + 1 + i) for i in range(N_CALLERS)]
    works = [functools.partial(_call, each) for each in callers] + [faults.run]
    threads = [
        threading.Thread(target=_guarded, args=(work, stop, ledger), daemon=True) for work in works
    ]
    started, next_log = time.monotonic(), LOG_S
    for thread in threads:
        thread.start()
    while (seconds := time.monotonic() - started) < 60 * minutes:
        memory.look()
        time.sleep(LOOK_S)
        if seconds >= next_log:
            next_log += LOG_S
            log(
                f"{seconds:.0f} s: {sum(faults.done.values())} faults, "
                f"{sum(row.answered for row in ledger.rows.values()):,} items answered, "
                f"{ledger.n_violations} violations"
            )
    stop.set()
    log("no more faults; what is under way must end")
    end = time.monotonic() + 2 * PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            ledger.violate("a caller hangs after the soak")
    ledger.close()
    _must_be_empty(ledger)
    for grown in memory.grown():
        ledger.violate(grown)
    return Outcome(seconds, ledger, faults, memory)


def _guarded(
    work: Callable[[threading.Event], None], stop: threading.Event, ledger: Ledger
) -> None:
    """Run `work`. Its failure is a violation: without its threads a soak would check nothing."""
    try:
        work(stop)
    except Exception as error:
        ledger.violate(f"the soak itself failed: {type(error).__name__}: {error}")
        raise


def _call(callers: Callers, stop: threading.Event) -> None:
    while not stop.is_set():
        callers.any()


def _must_be_empty(ledger: Ledger) -> None:
    """Check that both apps run and that nothing is left in their queues."""
    for app in (ROLLING, BESIDE):
        end = time.monotonic() + DRAIN_S
        while True:
            now = snapshot(app)
            queue = now.queue
            if queue is not None and now.status == "RUNNING":
                left = (queue.queued_items, queue.queued_tokens, queue.running_tokens)
                if left == (0, 0, 0):
                    break
            if time.monotonic() > end:
                ledger.violate(f"{app}: {now.status} {now.message} and {queue} after the soak")
                break
            time.sleep(0.5)
