"""Critic: a value for each token of a response, predicted before the token is sampled."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from cluster.rlhf.policy.model import Policy
from cluster.rlhf.ppo.batch import RolloutBatch


class Critic(nn.Module):
    """A body of its own, copied from the policy, and a head that starts at 0."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.body = copy.deepcopy(policy.module.base_model)
        width = policy.module.config.get_text_config().hidden_size
        self.head = nn.Linear(width, 1, device=policy.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: RolloutBatch) -> Tensor:
        """values_NT: at each token of a response, from the tokens before it; 0 outside."""
        hidden_NLD = self.body(
            input_ids=batch.ids_NL,
            attention_mask=batch.mask_NL,
            position_ids=batch.positions_NL,
            use_cache=False,
        ).last_hidden_state
        before_NTD = hidden_NLD[:, batch.prompt_len - 1 : -1]
        values_NT: Tensor = self.head(before_NTD)[..., 0] * batch.response_NT
        return values_NT.to(torch.float32)
