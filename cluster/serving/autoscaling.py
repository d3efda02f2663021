"""Replicas from queued tokens: a policy for Serve's `autoscaling_config`, guarded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueState:
    """What the batcher publishes: `async def queue_state(self) -> QueueState`, a Serve method.

    It must answer at once from numbers at hand, never wait for a device. All tokens are unique
    tokens (shared prompts counted once), the same in all three fields.
    queued_tokens: waiting in the scheduler (`Scheduler.queued_tokens`).
    running_tokens: cut and not yet answered (`Cut.n_unique_tokens` of the batches that are out).
    tokens_per_s: of one replica while it computes, measured; None before the first batch.
    """

    queued_tokens: int
    running_tokens: int
    tokens_per_s: float | None
