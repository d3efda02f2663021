"""Rollout workers: Ray actors that sample responses of the current policy.

Invariant: a rollout is a function of the weights, prompts and seed that its call carries, so a
worker that dies is restarted by Ray, runs the call again and returns the same rollouts. A step's
weights are copied once per worker, however many calls name them. Knows nothing of rewards.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.rlhf.policy.config import Sampling
from cluster.rlhf.policy.model import Policy
from cluster.types import Chat

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One response. response_ids: with the end of its turn, where it has one (`finished`)."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    finished: bool


class RolloutWorker:
    """A copy of the policy. bf16: its weights and arithmetic are bfloat16."""

    def __init__(
        self, start: str, device: str = "cpu", threads: int = 1, bf16: bool = False
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        dtype = torch.bfloat16 if bf16 else torch.float32
        self._policy = Policy.load(start, device, dtype)
        self._version: str | None = None

    def pid(self) -> int:
        """This worker's process."""
        return os.getpid()

    def rollouts(
        self,
        weights: Weights,
        version: str,
        prompts: Sequence[Chat],
        sampling: Sampling,
        seed: int,
    ) -> tuple[list[Rollout], list[tuple[Chat, str]]]:
        """`sampling.n` rollouts of each prompt, in order, and the same as conversations.

        version: names `weights`; those that the worker has already are not copied again. Two
        returns, so that the conversations go from the object store to the scorer without passing
        through the learner.
        """
        if version != self._version:
            load_weights(self._policy, weights)
            self._version = version
        samples = self._policy.sample(prompts, sampling, seed)
        found, conversations = [], []
        for prompt, drawn in zip(prompts, samples, strict=True):
            prompt_ids = tuple(self._policy.prompt_ids(prompt))
            for sample in drawn:
                found.append(Rollout(prompt_ids, sample.ids, sample.finished))
                conversations.append((prompt, sample.text))
        return found, conversations


def weights_of(policy: Policy, bf16: bool = False) -> Weights:
    """As arrays of their own, which Ray puts into the object store and workers map.

    bf16: rounded to bfloat16 and stored as its 16 bits, which numpy has no name for.
    """
    import torch

    found: dict[str, npt.NDArray[Any]] = {}
    for name, value in policy.module.state_dict().items():
        value = value.detach().cpu()
        if bf16 and value.is_floating_point():
            found[name] = value.bfloat16().view(torch.uint16).numpy().copy()
        else:
            found[name] = value.numpy().copy()
    return found


def load_weights(policy: Policy, weights: Weights) -> None:
    """Copy `weights` into `policy`."""
    import torch

    for name, value in policy.module.state_dict().items():
        given = torch.tensor(weights[name])
        rounded = weights[name].dtype == np.uint16
        value.copy_(given.view(torch.bfloat16) if rounded else given)
