"""Small random checkpoints of many architectures, and what plain transformers says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from support.architecture_variants import SMALL
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cluster.engine.checkpoint import locate
from cluster.types import Encoding


def save_random(folder: Path, name: str, extra: dict[str, Any]) -> Path:
    """A random float32 checkpoint of a transformers config class."""
    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    make: Any = getattr(transformers, name)
    # Room for the tokens that AutoTokenizer adds for some kinds of model (Qwen2, GPT-2).
    common = {"vocab_size": len(tokenizer) + 16, "pad_token_id": tokenizer.pad_token_id}
    if "text_config" in extra:  # a model with a vision tower
        extra = {**extra, "text_config": {**SMALL, **common, **extra["text_config"]}}
        config = make(num_labels=1, **extra)
    else:
        config = make(**{**SMALL, **common, "num_labels": 1, **extra})
    torch.manual_seed(0)
    auto: Any = AutoModelForSequenceClassification
    auto.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chats(longest: int) -> list[Encoding]:
    """Two groups on shared prompts and others, up to `longest` tokens."""
    rng = np.random.default_rng(1)
    found = []
    for prompt_len, own in ((40, (3, 20)), (20, (5, 9))):
        prompt = rng.integers(0, 250, prompt_len, dtype=np.int32)
        for n in own:
            ids = np.concatenate([prompt, rng.integers(0, 250, n, dtype=np.int32)])
            found.append(Encoding(ids, prompt_len))
    found += [Encoding(rng.integers(0, 250, n, dtype=np.int32)) for n in (longest, 1, 17)]
    return found


def plain_rewards(
    folder: Path,
    encodings: Sequence[Encoding],
    dtype: torch.dtype = torch.float32,
    widened: bool = False,
) -> list[float]:
    """transformers, one chat at a time, by a model that has met no other chat.

    dtype: of the weights, and of the arithmetic unless it is `widened` to float32.
    """
    auto: Any = AutoModelForSequenceClassification
    rewards = []
    module: Any = None
    for encoding in encodings:
        # Loaded, not copied: bits follow where in memory weights begin.
        if module is None or _remembers(module):
            module = auto.from_pretrained(folder, dtype=dtype).eval()
            module = module.float() if widened else module
        ids = torch.from_numpy(encoding.input_ids).long()[None]
        with torch.inference_mode():
            rewards.append(float(module(input_ids=ids, use_cache=False).logits[0, 0]))
    return rewards


def _remembers(module: Any) -> bool:
    """Whether transformers keeps the scaling of the longest chat that a model has met."""
    return "dynamic" in str(getattr(module.config, "rope_parameters", None))
