"""Time that passes only while nothing can run, so that no test of timers depends on the machine.

Within `virtual_time()` every event loop that this thread starts waits for no timer: where all
tasks wait, the clock (`time.monotonic` of this thread, hence `loop.time`) jumps to the next one. A
deadline then never passes while something could still be done before it, however busy the machine
is, and a test with long deadlines takes no longer than one with short ones. Work in other threads
is waited for, at a standing clock. Not for tests that poll by `asyncio.sleep(0)` for what only a
timer brings: while they run, no time passes.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")


class _Clock:
    """Seconds on `time.monotonic` of the thread that made it; other threads have the real one."""

    def __init__(self) -> None:
        self._real, self._thread = time.monotonic, threading.get_ident()
        self.now = self._real()

    def is_of_this_thread(self) -> bool:
        return threading.get_ident() == self._thread

    def __call__(self) -> float:
        return self.now if self.is_of_this_thread() else self._real()


class _Selector(selectors.DefaultSelector):
    """Skips the wait for the next timer, unless another thread is at work for the loop."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock
        self.n_threads_at_work = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout <= 0:
            return super().select(0)  # something can run
        if timeout is None or self.n_threads_at_work:
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self._clock.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Selector) -> None:
        super().__init__(selector)
        self._counting = selector

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        self._counting.n_threads_at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: object) -> None:
        self._counting.n_threads_at_work -= 1


def hold_up(seconds: float) -> None:
    """As if this thread's event loop had been kept from its turn for so long."""
    clock: Any = time.monotonic
    clock.now += seconds


@contextmanager
def virtual_time() -> Iterator[None]:
    """For the loops that `asyncio.run` starts in this thread."""
    clock, real_loop = _Clock(), asyncio.events.new_event_loop

    def new_loop() -> asyncio.AbstractEventLoop:
        return _Loop(_Selector(clock)) if clock.is_of_this_thread() else real_loop()

    with (
        patch.object(time, "monotonic", clock),
        patch.object(asyncio.events, "new_event_loop", new_loop),
    ):
        yield
