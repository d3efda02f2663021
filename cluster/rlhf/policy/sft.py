"""Supervised fine-tuning of a policy on chats, the loss on the response alone.

Invariant: only the tokens of the response and its end-of-turn token have a loss; no token of the
prompt does. Knows nothing of where the chats come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import torch
from torch import Tensor

from cluster.errors import ConfigError
from cluster.rlhf.policy.config import SftConfig
from cluster.rlhf.policy.model import Policy
from cluster.types import Chat, Encoding

Example = tuple[Chat, str]
"""A prompt and the response to learn."""
SORTED_BATCHES = 8
"""Number of batches whose chats are sorted by length together."""
IGNORED = -100
"""The label of a token without a loss, as transformers has it."""


def fine_tune(
    policy: Policy, examples: Sequence[Example], config: SftConfig, seed: int
) -> list[float]:
    """Train `policy` in place; the loss of each step, a mean over response tokens."""
    if not examples:
        raise ConfigError("there is no chat to fine-tune on")
    encoded = [policy.encode(*example) for example in examples]
    parameters = [p for p in policy.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.0)
    policy.module.train()
    losses: list[float] = []
    for batch in _batches(encoded, config, seed):
        ids_NT, mask_NT, labels_NT = padded(batch, policy.device)
        loss = policy.module(input_ids=ids_NT, attention_mask=mask_NT, labels=labels_NT).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


def padded(batch: Sequence[Encoding], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """ids_NT, mask_NT and labels_NT, padded on the right with masked zeros."""
    width = max(encoding.n_tokens for encoding in batch)
    ids_NT = torch.zeros(len(batch), width, dtype=torch.long)
    mask_NT = torch.zeros_like(ids_NT)
    labels_NT = torch.full_like(ids_NT, IGNORED)
    for row, encoding in enumerate(batch):
        ids_T = torch.from_numpy(encoding.input_ids).long()
        ids_NT[row, : encoding.n_tokens] = ids_T
        mask_NT[row, : encoding.n_tokens] = 1
        labels_NT[row, encoding.prompt_len : encoding.n_tokens] = ids_T[encoding.prompt_len :]
    return ids_NT.to(device), mask_NT.to(device), labels_NT.to(device)


def _batches(encoded: Sequence[Encoding], config: SftConfig, seed: int) -> Iterator[list[Encoding]]:
    """Every chat once an epoch, in an order that depends on the seed and the epoch alone.

    Chats of like length share a batch, which halves the padding; the batches are shuffled.
    """
    window = SORTED_BATCHES * config.batch
    for epoch in range(config.epochs):
        random = Random(f"{seed} {epoch}")
        order = random.sample(list(encoded), len(encoded))
        for start in range(0, len(order), window):
            order[start : start + window] = sorted(
                order[start : start + window], key=lambda encoding: encoding.n_tokens
            )
        batches = [order[i : i + config.batch] for i in range(0, len(order), config.batch)]
        yield from random.sample(batches, len(batches))
