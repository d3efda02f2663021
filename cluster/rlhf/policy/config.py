"""Settings of a policy: how it samples, how it is fine-tuned. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cluster.settings.field_types import Count, Positive
from cluster.settings.parsing import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How responses are sampled; top_k and top_p are off."""

    __pydantic_config__: ClassVar[Any] = STRICT

    n: Count = 8
    """Responses per prompt."""
    temperature: Positive = 1.0
    """Sampling temperature; 1 samples from the model's own distribution."""
    max_new_tokens: Count = 128
    """Maximum tokens of a response; one that has not ended by then is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """Supervised fine-tuning with a constant learning rate and a new AdamW each time."""

    __pydantic_config__: ClassVar[Any] = STRICT

    lr: Positive = 2e-5
    """Learning rate."""
    epochs: Count = 1
    """Passes over the chats."""
    batch: Count = 16
    """Chats per optimizer step."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
