"""Load tracker: running tokens, forward rate per replica, and batch metrics.

Knows no replicas and no scheduler; it is told by the dispatcher what is sent and what comes back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from cluster.serving.batching.pending_requests import QueuedSequence
from cluster.serving.batching.queue_state import ReplicaRate
from cluster.serving.metrics import ServingMetrics
from cluster.serving.protocol import BatchResult


class LoadTracker:
    """Counters of one batcher. running_tokens: unique tokens sent to replicas and not back yet.

    rate: how fast a replica drains the queue, cached prompts included; speed: how fast it computes,
    from which the time of a batch with uncached prompts is predicted.
    """

    def __init__(self, metrics: ServingMetrics, token_budget: int, share_prompts: bool) -> None:
        self.running_tokens = 0
        self.rate, self.speed = ReplicaRate(), ReplicaRate()
        self._metrics = metrics
        self._token_budget = token_budget
        self._share_prompts = share_prompts

    def sent(self, sequences: Sequence[QueuedSequence]) -> int:
        """A batch is sent; returns its unique tokens, to be passed to `back`."""
        total = sum(sequence.encoding.n_tokens for sequence in sequences)
        unique = self._unique_tokens(sequences, total)
        self._metrics.batch_cut(total, unique, self._token_budget)
        self.running_tokens += unique
        return unique

    def back(self, unique: int) -> None:
        """It is no longer on a replica, whether answered or lost."""
        self.running_tokens -= unique

    def answered(
        self, sequences: Sequence[QueuedSequence], result: BatchResult, unique: int
    ) -> None:
        """It was scored."""
        forward_s = result.wall_s
        scored = [i for i in range(len(result)) if i not in result.errors]
        now = time.monotonic()
        self.rate.add(unique, forward_s)
        self.speed.add(result.computed_tokens or unique, forward_s)
        self._metrics.batch_done(
            sum(sequences[i].encoding.n_tokens for i in scored),
            max(0.0, now - min(t.entered for t in sequences) - forward_s),
            forward_s,
            result.rewards_N[scored].tolist(),
        )

    def drain_tokens_per_s(self, n_replicas: int) -> float:
        """Unique tokens per second that `n` replicas score while they have work, 0 if unknown.

        This is capacity and not recent throughput, which is low after a quiet moment.
        """
        return n_replicas * self.rate.tokens_per_s

    def lost(self) -> None:
        """The batch will be retried."""
        self._metrics.retry()

    def _unique_tokens(self, sequences: Sequence[QueuedSequence], total: int) -> int:
        """What the forward computes: each prompt once where prompts are shared."""
        if not self._share_prompts:
            return total
        prompts = {
            t.encoding.input_ids[: t.encoding.prompt_len].tobytes(): t.encoding.prompt_len
            for t in sequences
        }
        return total - sum(t.encoding.prompt_len for t in sequences) + sum(prompts.values())
