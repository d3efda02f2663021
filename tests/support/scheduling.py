"""Requests for the scheduler, and a scheduler with a small budget."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cluster.config import SchedulerConfig
from cluster.engine.packing import pack
from cluster.serving.batching.scheduler import Scheduler
from cluster.types import Encoding

BUDGET = 100
AGEING_S = 10.0


@dataclass(eq=False)
class Ask:
    encoding: Encoding
    priority: int = 0
    deadline: float | None = None
    entered: float = field(default=0.0)


def ask(prompt: int, n_prompt: int, n_response: int, serial: int = 0, **terms: float) -> Ask:
    """A request under prompt number `prompt`; its response is its own."""
    ids = np.full(n_prompt + n_response, 1000 + serial, np.int32)
    ids[:n_prompt] = prompt
    return Ask(Encoding(ids, n_prompt), **terms)  # type: ignore[arg-type]


def scheduler(**settings_: float) -> Scheduler[Ask]:
    config = SchedulerConfig(ageing_s=AGEING_S, **settings_)  # type: ignore[arg-type]
    return Scheduler(config, BUDGET)


def unique_tokens(batch: list[Ask]) -> int:
    return pack([a.encoding for a in batch], "invariant").n_unique_tokens if batch else 0


def drain(s: Scheduler[Ask]) -> list[list[Ask]]:
    batches = []
    while batch := s.take():
        batches.append(batch)
    return batches
