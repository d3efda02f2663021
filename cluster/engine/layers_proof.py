"""Proof at load that the native layers compute what the model's own do.

A float32 copy of the model gives the truth of a few short chats; the copy rounded to bfloat16 again
runs through its own layers and through the native ones. The native ones must be as close to the
truth as the model's own.

Shape legend: N sequences, D hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cluster.engine.llama_layers import llama_layers
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.engine.packing_proof import MIN_SHARED_TOKENS, own_outputs, trial_chats
from cluster.engine.twin import float32_twin

CHAT_TOKENS = 128
"""Most of a chat of the trial."""
NOISE = 2.0**-8
"""Allowed difference between two bfloat16 numbers that are equally right."""


@torch.inference_mode()
def layers_agree(model: PackedRewardModel) -> bool:
    """Whether native layers of `model`'s architecture are as good as its own."""
    twin = float32_twin(model.module)
    chats = trial_chats(twin.config, CHAT_TOKENS)
    twin.set_attn_implementation(model.own_attention)
    truth_ND = own_outputs(twin, chats).hidden_ND
    for parameter in twin.parameters():
        parameter.data = parameter.data.to(model.dtype)
    trial = PackedRewardModel(twin, model.numerics, attention=model.attention)
    batch = pack(chats, model.numerics, MIN_SHARED_TOKENS)
    own = _error(trial.pooled(batch), truth_ND)
    trial.native_layers = llama_layers(twin)
    return trial.native_layers is None or _error(trial.pooled(batch), truth_ND) <= 2 * own + NOISE


def _error(hidden_ND: Tensor, truth_ND: Tensor) -> float:
    """Largest distance of a hidden state from the truth, relative to its norm; infinite for NaN."""
    error = float(((hidden_ND.float() - truth_ND).norm(dim=-1) / truth_ND.norm(dim=-1)).max())
    return error if error == error else float("inf")
