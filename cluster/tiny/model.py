"""The shape of `tiny`: a Llama small enough to ship in the package. Random weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_TOKENS = 8192
HIDDEN, LAYERS, HEADS, KV_HEADS, INTERMEDIATE = 128, 4, 4, 2, 384
INIT_STD = 0.08
"""About 1/sqrt(HIDDEN). The usual 0.02 is for widths of thousands; here attention would start
almost uniform and take several times as many steps to find matching words."""


def save_untrained(tokenizer: PreTrainedTokenizerFast, folder: Path, seed: int) -> None:
    """A checkpoint of random float32 weights and the tokenizer, as transformers loads it."""
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
    build(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
