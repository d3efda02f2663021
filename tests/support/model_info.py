"""Record of a loaded model, for tests in which none is loaded."""

from __future__ import annotations

from typing import Any

from cluster.types import ModelInfo


def model_info(**changes: Any) -> ModelInfo:
    """An invariant Llama in bfloat16 on the CPU, with `changes`."""
    values: dict[str, Any] = {
        "model": "m",
        "revision": "r1",
        "architecture": "LlamaForSequenceClassification",
        "dtype": "bfloat16",
        "compute_dtype": "bfloat16",
        "device": "cpu",
        "numerics": "invariant",
        "vocab_size": 261,
        "max_tokens": 4096,
        "n_parameters": 1,
    }
    return ModelInfo(**{**values, **changes})
