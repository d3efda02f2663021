"""Rollout batch: prompts padded on the left, responses on the right.

Shape legend: N rollouts, P longest prompt, T longest response, L = P + T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from cluster.rlhf.ppo.rollouts import Rollout


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """mask_NL: 1 on tokens. response_NT: 1.0 on the tokens of responses."""

    ids_NL: Tensor
    mask_NL: Tensor
    response_NT: Tensor

    @property
    def prompt_len(self) -> int:
        return self.ids_NL.shape[1] - self.response_NT.shape[1]

    @property
    def positions_NL(self) -> Tensor:
        return (self.mask_NL.cumsum(1) - 1).clamp(min=0)

    def rows(self, index: Tensor) -> RolloutBatch:
        """Some of the rollouts."""
        return RolloutBatch(self.ids_NL[index], self.mask_NL[index], self.response_NT[index])


def batch_of(rollouts: Sequence[Rollout], device: torch.device) -> RolloutBatch:
    """Raises ValueError where there is no rollout."""
    prompt_len = max(len(r.prompt_ids) for r in rollouts)
    width = max(len(r.response_ids) for r in rollouts)
    ids_NL = torch.zeros(len(rollouts), prompt_len + width, dtype=torch.long)
    mask_NL = torch.zeros_like(ids_NL)
    for row, rollout in enumerate(rollouts):
        start = prompt_len - len(rollout.prompt_ids)
        ids = torch.tensor([*rollout.prompt_ids, *rollout.response_ids])
        ids_NL[row, start : start + len(ids)] = ids
        mask_NL[row, start : start + len(ids)] = 1
    response_NT = mask_NL[:, prompt_len:].float()
    return RolloutBatch(ids_NL.to(device), mask_NL.to(device), response_NT.to(device))


def response_log_probs(module: Any, batch: RolloutBatch, temperature: float) -> Tensor:
    """logp_NT of the responses' tokens under a causal language model, 0 outside the mask."""
    logits = module(
        input_ids=batch.ids_NL,
        attention_mask=batch.mask_NL,
        position_ids=batch.positions_NL,
        logits_to_keep=batch.response_NT.shape[1] + 1,
        use_cache=False,
    ).logits[:, :-1]
    every_NTV = log_softmax(logits.float() / temperature, -1)
    ids_NT1 = batch.ids_NL[:, batch.prompt_len :, None]
    return every_NTV.gather(-1, ids_NT1)[..., 0] * batch.response_NT
