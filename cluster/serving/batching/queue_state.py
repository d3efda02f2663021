"""Queue state: how much waits in a batcher, for autoscaling and `reward-cluster status`."""

from __future__ import annotations

from dataclasses import dataclass

WAITING = "waiting_tokens"
RATE = "replica_tokens_per_s"
FORWARD = "forward_seconds"
"""Keys of what a batcher reports to the autoscaling policy."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """One batcher at one moment.

    queued_tokens, running_tokens: unique tokens, shared prompts counted once.
    replica_tokens_per_s: unique tokens per second of one replica's forward, 0 until measured.
    oldest_s: age of the oldest unanswered item, 0 if there is none.
    since_dispatch_s: since a batch was last sent to a replica, or since the start.
    struck: replicas that are sent nothing because they do not answer.
    waiting_tokens: tokens of calls that wait for room in the queue.
    """

    queued_items: int
    queued_tokens: int
    running_tokens: int
    replica_tokens_per_s: float
    oldest_s: float = 0.0
    since_dispatch_s: float = 0.0
    struck: tuple[str, ...] = ()
    waiting_tokens: int = 0


def autoscaling_stats(state: QueueState, forward_s: float) -> dict[str, float]:
    """What the batcher reports to the autoscaler. forward_s: seconds of all forwards since it
    started."""
    return {
        WAITING: float(state.waiting_tokens + state.queued_tokens + state.running_tokens),
        RATE: float(state.replica_tokens_per_s),
        FORWARD: float(forward_s),
    }


class ReplicaRate:
    """Unique tokens per second of a replica's forward; recent batches weigh more."""

    def __init__(self, half_life_s: float = 10.0) -> None:
        self._half_life_s = half_life_s
        self._tokens = 0.0
        self._seconds = 0.0

    def add(self, tokens: int, forward_s: float) -> None:
        """Add one batch. The weight of earlier ones halves with every `half_life_s` of forward
        time."""
        fade = 0.5 ** (forward_s / self._half_life_s)
        self._tokens = self._tokens * fade + tokens
        self._seconds = self._seconds * fade + forward_s

    @property
    def tokens_per_s(self) -> float:
        return self._tokens / self._seconds if self._seconds > 0 else 0.0
