"""Packing proof at load: packed rewards against the model's own forward, in float32.

transformers passes the packed attention to any model that asks for it and does not report a layer
that ignores it: a recurrent layer, or a layer with its own attention, would read all chats of a
batch as one. So a few short chats of random ids run both packed, two of them on a shared prompt,
and each alone through the model's own forward. Only where hidden states and rewards agree, and
every layer asked for the packed attention, is the model packed; otherwise its own forward scores
one chat at a time.

The comparison is in float32 on a copy (`float32_twin`), whose noise is far below any fault; on a
GPU, whose kernels take no float32, the model itself is compared too, as closely as its dtype
allows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cluster.engine.attention import IMPLEMENTATION, AttentionFn, LayerAttention
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.engine.rope import rope_switch
from cluster.engine.twin import float32_twin, n_layers
from cluster.errors import ModelRefused
from cluster.types import Encoding

log = logging.getLogger(__name__)

BOUND = {torch.float32: 2.0**-14, torch.float16: 2.0**-5, torch.bfloat16: 2.0**-3}
"""Largest difference of a hidden state, relative to its norm; of a reward, relative to that norm
times the head's."""
PROMPT_TOKENS = 24
OWN_TOKENS = (9, 14)
"""Of two responses to one prompt."""
LONE_TOKENS = (11, 40)
"""Of two chats that share nothing."""
MIN_SHARED_TOKENS = 8
"""Of `fast`, so that the short prompt is shared."""
ROWS = (128,)
"""The batch is filled up to this with dummies, as in service."""


def settle(model: PackedRewardModel, max_tokens: int) -> None:
    """Have `model` use its own forward, with one warning, unless packing is proven right.

    max_tokens: of the longest chat to come. Raises ModelRefused where even the own forward fails.
    """
    if model.numerics == "reference":
        return
    reason = why_not_packed(model, max_tokens)
    if reason is not None:
        model.use_own_forward(reason)
        log.warning(
            "%s is scored by its own forward, one chat at a time, as packing is not proven right "
            "for it: %s",
            type(model.module).__name__,
            reason,
        )


def why_not_packed(model: PackedRewardModel, max_tokens: int) -> str | None:
    """Why `model` cannot be packed; None if packing is proven. Leaves `model` as it was.

    Raises ModelRefused where its own forward fails, or does not end in its linear head.
    """
    module = model.module
    switch = rope_switch(module.config)
    if switch is not None and max_tokens > switch:
        return f"its rope scaling follows the longest chat of a batch beyond {switch} tokens"
    chats = trial_chats(module.config, max_tokens)
    found = _twin(model, chats)
    if found is not None:
        reason = difference(*found, chats)
        if reason is not None or not _half_only(model):
            return reason
    module.set_attn_implementation(model.own_attention)
    try:
        truth = own_outputs(module, chats)
    except ModelRefused:
        raise
    except Exception as error:
        raise ModelRefused(
            f"the own forward of {type(module).__name__} fails: {_line(error)}"
        ) from error
    module.set_attn_implementation(IMPLEMENTATION)
    return difference(model, truth, chats)


def trial_chats(config: Any, max_tokens: int) -> list[Encoding]:
    """Random ids but the pad: two responses to a prompt, two other chats."""
    text = config.get_text_config()
    rng = np.random.default_rng(0)
    ids = rng.integers(0, text.vocab_size, 128, dtype=np.int32)
    ids = ids[ids != getattr(text, "pad_token_id", None)]
    prompt, rest = np.split(ids, [PROMPT_TOKENS])
    parts = np.split(rest, np.cumsum([*OWN_TOKENS, *LONE_TOKENS]))
    prompt = prompt[: max(1, max_tokens - max(OWN_TOKENS))]
    shared = [np.concatenate([prompt, own]) for own in parts[:2]]
    return [
        *(Encoding(chat[:max_tokens], len(prompt)) for chat in shared),
        *(Encoding(chat[:max_tokens]) for chat in parts[2:4]),
    ]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Hidden states at the last tokens of N chats, and their rewards."""

    hidden_ND: Tensor
    rewards_N: Tensor


@torch.inference_mode()
def own_outputs(module: Any, chats: Sequence[Encoding]) -> Outputs:
    """Each chat alone through the model's own forward.

    Raises ModelRefused where that does more than put the linear head on the last hidden state.
    """
    hidden: list[Tensor] = []
    rewards = []

    def keep(_: Any, args: Any, output: Any) -> None:
        hidden.append(output.last_hidden_state[0, -1])

    hook = module.base_model.register_forward_hook(keep)
    try:
        for chat in chats:
            ids = torch.from_numpy(chat.input_ids).to(module.score.weight.device).long()[None]
            rewards.append(module(input_ids=ids, use_cache=False).logits[0, 0])
    finally:
        hook.remove()
    outputs = Outputs(torch.stack(hidden).float(), torch.stack(rewards).float())
    head_N = module.score(torch.stack(hidden))[:, 0].float()
    if _apart(outputs.rewards_N - head_N, outputs, module):
        raise ModelRefused(
            f"the forward of {type(module).__name__} does more than its linear head `score`; "
            "it cannot be served"
        )
    return outputs


@torch.inference_mode()
def difference(model: PackedRewardModel, truth: Outputs, chats: Sequence[Encoding]) -> str | None:
    """How packed `model` differs from `truth`; None if they agree."""
    calls: list[int] = []

    def counted(attend: AttentionFn) -> AttentionFn:
        def run(query: Tensor, key: Tensor, value: Tensor, layer: LayerAttention) -> Tensor:
            calls.append(layer.layer)
            return attend(query, key, value, layer)

        return run

    batch = pack(chats, model.numerics, MIN_SHARED_TOKENS)
    try:
        hidden_ND = model.pooled(batch, counted)
        rewards_N = model.head(hidden_ND)
    except Exception as error:  # whatever it is, this model is not packed
        return _line(error)
    wanted = n_layers(model.module)
    if len(calls) < wanted:
        return f"only {len(calls)} of its {wanted} layers go through the packed attention"
    norm_N = truth.hidden_ND.norm(dim=-1)
    apart = float(((hidden_ND.float() - truth.hidden_ND).norm(dim=-1) / norm_N).max())
    bound = BOUND[model.dtype]
    if not apart <= bound:
        return f"its hidden states differ by {apart:.2g} of their norm, allowed {bound:.2g}"
    if _apart(rewards_N - truth.rewards_N, truth, model.module):
        return "its rewards differ, though its hidden states agree"
    return None


def _apart(difference_N: Tensor, truth: Outputs, module: Any) -> bool:
    """Whether rewards differ by more than rounding in the dtype of `module` explains."""
    weight_D = module.score.weight[0]
    scale_N = truth.hidden_ND.norm(dim=-1) * weight_D.float().norm()
    return not bool((difference_N.abs() <= BOUND[weight_D.dtype] * scale_N).all())


def _twin(
    model: PackedRewardModel, chats: Sequence[Encoding]
) -> tuple[PackedRewardModel, Outputs] | None:
    """A float32 copy with its own outputs; None if no copy can be made or run."""
    try:
        twin = float32_twin(model.module)
        twin.set_attn_implementation(model.own_attention)
        truth = own_outputs(twin, chats)
        attention = "eager" if _half_only(model) else model.attention
        trial = PackedRewardModel(twin, model.numerics, attention=attention)
    except ModelRefused:
        raise
    except Exception as error:  # the model itself decides then
        log.debug("no float32 copy of %s: %s", type(model.module).__name__, error)
        return None
    trial.row_sizes = ROWS
    return trial, truth


def _half_only(model: PackedRewardModel) -> bool:
    """Whether the kernels of `model` take no float32, so that its copy runs others."""
    return model.device.type == "cuda" or model.attention == "varlen"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
