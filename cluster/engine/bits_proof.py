"""Proof at load that a chat's bits do not depend on its batch, as `invariant` numerics promise.

The row counts of matmuls are measured one weight at a time (see `batch_invariance`); here a few
chats of random ids run through whole layers, activations included, with the threads in use:
together, and each alone. Their hidden states must be equal bit for bit, so that the coarse grid of
a bfloat16 head hides nothing. A large model is tried on its first layers.
"""

from __future__ import annotations

import logging

import numpy as np
import torch

from cluster.engine.batch_invariance import pad_rows
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.engine.twin import first_layers
from cluster.types import Encoding

log = logging.getLogger(__name__)

PROMPT_TOKENS = 70
LENGTHS = (75, 110, 3, 130, 250)
"""Of the chats; the first two share a prompt. Together and alone they take row counts apart."""


def keep_promise(model: PackedRewardModel, max_tokens: int) -> None:
    """If chats' bits depend on their batch, run one chat per forward, with one warning."""
    if model.numerics != "invariant" or not model.row_sizes or keeps_bits(model, max_tokens):
        return
    model.row_sizes = ()
    log.warning(
        "%s: a chat's bits follow its batch on this device: one chat a forward",
        type(model.module).__name__,
    )


@torch.inference_mode()
def keeps_bits(model: PackedRewardModel, max_tokens: int) -> bool:
    """Whether chats of up to `max_tokens` have the same hidden states alone and together."""
    chats = _chats(model.module.config.get_text_config().vocab_size, max_tokens)
    batch = pack(chats, "invariant")
    filled = (pad_rows(batch, (size,)) for size in trial_sizes(model))
    with first_layers(model.module):
        alone_ND = torch.cat([model.pooled(pack([chat], "invariant")) for chat in chats])
        return all(torch.equal(model.pooled(one), alone_ND) for one in (batch, *filled))


def trial_sizes(model: PackedRewardModel) -> tuple[int, ...]:
    """Row counts up to the largest, doubling, on a GPU, where sums follow them outside matmuls too.

    On a CPU `cpu_rows.whole_vectors` has left none at which elementwise kernels do.
    """
    if model.device.type == "cpu":
        return ()
    return tuple(size for size in model.row_sizes if size >= 1024 and not size & (size - 1))


def _chats(vocab_size: int, max_tokens: int) -> list[Encoding]:
    rng = np.random.default_rng(0)
    chats = [rng.integers(0, vocab_size, n, dtype=np.int32) for n in LENGTHS]
    chats[1][:PROMPT_TOKENS] = chats[0][:PROMPT_TOKENS]
    splits = (PROMPT_TOKENS, PROMPT_TOKENS, *[0] * (len(chats) - 2))
    return [
        Encoding(ids[:max_tokens], min(split, max_tokens - 1))
        for ids, split in zip(chats, splits, strict=True)
    ]
