"""Model presets: shapes to measure with random weights, since speed does not depend on their
values."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

Preset = Literal["cpu", "8b"]

_SHAPES: dict[str, dict[str, Any]] = {
    # 24M parameters in the layers: large enough that matmuls dominate, small enough for two cores.
    "cpu": {
        "vocab_size": 32_000,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
    },
    # Llama-3-8B with the [PAD] row of FsfairX-LLaMA3-RM-v0.1.
    "8b": {
        "vocab_size": 128_257,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}


def build(preset: Preset, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A `LlamaForSequenceClassification` of the preset's shape: one label, random weights."""
    import transformers

    library: Any = transformers

    shape = _SHAPES[preset]
    config = library.LlamaConfig(
        **shape,
        num_labels=1,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        pad_token_id=shape["vocab_size"] - 1,
    )
    torch.manual_seed(0)
    with torch.device("meta"):
        model = library.AutoModelForSequenceClassification.from_config(config)
    model = model.to_empty(device=device).to(dtype)
    for name, parameter in model.named_parameters():
        torch.nn.init.ones_(parameter) if "norm" in name else parameter.data.normal_(0, 0.02)
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    return model.eval().requires_grad_(False)


def save(preset: Preset, folder: Path, max_tokens: int = 0) -> None:
    """Save the preset as a checkpoint for the service, with the embedded model's tokenizer.

    max_tokens: of the longest chat, if that exceeds the preset's limit.
    """
    from transformers import AutoTokenizer

    from cluster.engine.checkpoint import locate

    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    module = build(preset, torch.device("cpu"))
    limit = max(module.config.max_position_embeddings, max_tokens)
    module.config.max_position_embeddings = limit
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def flops_per_token(model: Any) -> float:
    """Matmul FLOPs of one token through the layers, without attention's own products."""
    weights = (p.numel() for n, p in model.base_model.layers.named_parameters() if p.dim() == 2)
    return 2.0 * float(sum(weights))
