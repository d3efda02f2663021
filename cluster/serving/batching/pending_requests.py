"""Pending requests: calls, their distinct sequences (deduplicated), and recent scores.

Invariants: a call's every item is answered exactly once; one sequence is being scored once, however
many calls ask for it (a client's retry after a timeout joins the first attempt or finds its
answer); an answer is kept only as long as the weights that made it are served; a sequence that
nobody waits for any more is handed back to be cancelled, or kept where a device has it already.

Knows no Ray, no replicas and no batches. Single-threaded: lives on the batcher's event loop.
Times are seconds on `time.monotonic`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.errors import DeadlineExceeded, RewardError
from cluster.serving.protocol import ItemResult, Source
from cluster.types import Encoding

Key = bytes
Result = ItemResult | RewardError
MAX_ANSWERS = 200_000
"""Maximum number of answers remembered, about 100 MB."""
MAX_LOADS = 10_000
"""Maximum number of weight loads remembered: one per replica and roll."""

JOINED_FOR_S = 300.0
"""Seconds for which a sequence on a device is joined: one out for longer may never come back."""


@dataclass(eq=False, slots=True)
class QueuedSequence:
    """One distinct sequence on its way to a device.

    deadline: the latest of its waiters'; None means no deadline.
    sent: when it left the queue for a device; None while it is in the queue.
    """

    encoding: Encoding
    key: Key
    priority: int
    deadline: float | None
    entered: float
    waiters: list[tuple[PendingCall, int]] = field(default_factory=list)
    sent: float | None = None

    def serves(self, priority: int, now: float) -> bool:
        """Whether a new waiter loses nothing by joining; its deadline then counts as well."""
        if self.sent is not None:
            return now - self.sent < JOINED_FOR_S
        return priority <= self.priority

    def join(self, call: PendingCall, index: int) -> None:
        """`call` waits for it as its item `index`; every caller minds its own deadline."""
        self.waiters.append((call, index))
        if self.deadline is not None:
            self.deadline = None if call.deadline is None else max(self.deadline, call.deadline)


class PendingCall:
    """One caller's wait for N items. entered: when it came."""

    def __init__(self, n: int, deadline: float | None, entered: float = 0.0) -> None:
        self.results: list[Result | None] = [None] * n
        self.sequences: list[QueuedSequence | None] = [None] * n
        self.deadline = deadline
        self.entered = entered
        self._left = n
        self._fresh: list[int] = []
        self._changed = asyncio.Event()

    def put(self, index: int, result: Result) -> None:
        """The result of one item; a second one for the same item is ignored."""
        if self.results[index] is None:
            self.results[index] = result
            self._left -= 1
            self._fresh.append(index)
            self._changed.set()

    async def parts(self) -> AsyncIterator[list[int]]:
        """Indices of new results, until all are there; at the deadline the rest expires."""
        while self._left or self._fresh:
            try:
                async with asyncio.timeout_at(self.deadline):
                    await self._changed.wait()
            except TimeoutError:
                self.end(DeadlineExceeded("the deadline passed before the item was scored"))
            self._changed.clear()
            fresh, self._fresh = self._fresh, []
            yield fresh

    def answered(self, index: Sequence[int]) -> list[Result]:
        """The results at `index`, as `parts` yielded it."""
        return [result for i in index if (result := self.results[i]) is not None]

    def finished(self) -> list[Result]:
        """All results, in the call's order."""
        results = [result for result in self.results if result is not None]
        assert len(results) == len(self.results), "asked before the call was finished"
        return results

    def end(self, error: RewardError) -> None:
        """End the call: every item without a result gets `error`."""
        for i, result in enumerate(self.results):
            if result is None:
                self.put(i, error)


class RequestTable:
    """Every open sequence and recent answer."""

    def __init__(self, dedupe_s: float) -> None:
        self._dedupe_s = dedupe_s
        self._open: dict[Key, QueuedSequence] = {}
        self._answers: OrderedDict[Key, tuple[float, ItemResult]] = OrderedDict()
        self._serving: Source | None = None
        self._loads: OrderedDict[str, None] = OrderedDict()

    def enter(
        self, call: PendingCall, items: Mapping[int, Encoding], priority: int, now: float
    ) -> list[QueuedSequence]:
        """Answer what is known and join what is being scored; returns the new sequences, to be
        scheduled.

        items: some or all of the call's, by index.
        """
        self._forget(now)
        new = []
        for i, encoding in items.items():
            key = sequence_key(encoding)
            if (known := self._answers.get(key)) is not None:
                call.put(i, known[1]._replace(queue_s=0.0, forward_s=0.0))  # waited for nothing
                continue
            sequence = self._open.get(key)
            if sequence is None or not sequence.serves(priority, now):
                sequence = QueuedSequence(encoding, key, priority, call.deadline, call.entered)
                self._open[key] = sequence
                new.append(sequence)
            sequence.join(call, i)
            call.sequences[i] = sequence
        return new

    def settle(self, sequence: QueuedSequence, result: Result, now: float) -> None:
        """Give `result` to all calls that wait for `sequence`; a reward is remembered."""
        self._close(sequence)
        waiters, sequence.waiters = sequence.waiters, []
        for call, i in waiters:
            call.put(i, _for(call, result, now))
        if not isinstance(result, ItemResult):
            return
        if result.load not in self._loads:
            self.loaded([result.load], result.source)
        if result.source == self._serving:
            self._answers[sequence.key] = (now + self._dedupe_s, result)

    def loaded(self, loads: Sequence[str], source: Source) -> None:
        """A replica serves `source` from now on. loads: its loads so far, seen here or not.

        The newest load is of the weights that replicas roll to; answers from earlier loads are a
        straggler's and not kept. Answers of other weights are forgotten.
        """
        self._loads.update(dict.fromkeys(loads))
        while len(self._loads) > MAX_LOADS:
            self._loads.popitem(last=False)
        if source != self._serving or len(loads) > 1:
            self._serving = source
            self._answers.clear()

    def leave(self, call: PendingCall) -> list[QueuedSequence]:
        """`call` no longer waits; returns the sequences that nobody waits for now."""
        sequences = {id(t): t for t in call.sequences if t is not None and t.waiters}
        abandoned = []
        for sequence in sequences.values():
            sequence.waiters = [waiter for waiter in sequence.waiters if waiter[0] is not call]
            if not sequence.waiters:
                self._close(sequence)
                abandoned.append(sequence)
        return abandoned

    def keep(self, sequence: QueuedSequence) -> None:
        """After `leave`, for one that is sent: who asks for it again joins it."""
        if sequence.key not in self._open:
            self._open[sequence.key] = sequence
            sequence.waiters.append((PendingCall(1, None), 0))  # nobody's

    def oldest_s(self, now: float) -> float:
        """Age of the oldest open sequence, 0 if there is none."""
        first = next(iter(self._open.values()), None)
        return 0.0 if first is None else now - first.entered

    def _close(self, sequence: QueuedSequence) -> None:
        if self._open.get(sequence.key) is sequence:
            del self._open[sequence.key]

    def _forget(self, now: float) -> None:
        answers = self._answers
        while answers and (len(answers) > MAX_ANSWERS or next(iter(answers.values()))[0] <= now):
            answers.popitem(last=False)


def _for(call: PendingCall, result: Result, now: float) -> Result:
    """`result` as one of its callers sees it: a call that joined late has waited for less time."""
    if not isinstance(result, ItemResult):
        return result
    waited = max(0.0, now - call.entered - result.forward_s)
    return result._replace(queue_s=min(result.queue_s, waited))


def sequence_key(encoding: Encoding) -> Key:
    """Equal for encodings with the same answer: ids, split, and the encoder that made them, since a
    replica refuses ids of another tokenizer."""
    digest = hashlib.blake2b(encoding.input_ids.tobytes(), digest_size=16)
    digest.update(encoding.prompt_len.to_bytes(4, "little"))
    digest.update(encoding.fingerprint.encode())
    return digest.digest()
