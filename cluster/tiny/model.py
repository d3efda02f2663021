"""The shape of `tiny`: a Llama small enough to ship in the package. Random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_TOKENS = 8192
HIDDEN, LAYERS, HEADS, KV_HEADS, INTERMEDIATE = 128, 4, 4, 2, 320
INIT_STD = 0.08
"""About 1/sqrt(HIDDEN). The usual 0.02 is for widths of thousands; here attention would start
almost uniform and take several times as many steps to find matching words."""
QUERY_LIKE_KEY = 0.9


def untrained(tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
    """A LlamaForSequenceClassification of random float32 weights for the tokenizer.

    From the second layer on, every second head begins by looking for tokens like its own: its
    query weights are nearly its key weights (mimetic initialization, arXiv 2305.09828).
    """
    from transformers import LlamaConfig, LlamaForSequenceClassification

    describe: Any = LlamaConfig
    build: Any = LlamaForSequenceClassification
    config = describe(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=MAX_TOKENS,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        initializer_range=INIT_STD,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
        use_cache=False,
    )
    torch.manual_seed(seed)
    model = build(config)
    for layer in model.model.layers[1:]:
        _look_for_like(layer.self_attn)
    return model


@torch.no_grad()
def _look_for_like(attention: Any) -> None:
    queries = attention.q_proj.weight.view(HEADS, -1, HIDDEN)
    keys = attention.k_proj.weight.view(KV_HEADS, -1, HIDDEN)
    of_each = keys.repeat_interleave(HEADS // KV_HEADS, dim=0)
    noise = (1 - QUERY_LIKE_KEY**2) ** 0.5
    queries[1::2] = QUERY_LIKE_KEY * of_each[1::2] + noise * queries[1::2]
