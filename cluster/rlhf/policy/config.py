"""Settings of a policy: how it samples, how it is fine-tuned. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cluster.settings.field_types import Count, Positive
from cluster.settings.parsing import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How responses are drawn; top_k and top_p are off."""

    __pydantic_config__: ClassVar[Any] = STRICT

    n: Count = 8
    """Responses a prompt."""
    temperature: Positive = 1.0
    """1 samples from the model as it is."""
    max_new_tokens: Count = 128
    """A response that has not ended by then is unfinished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """A constant learning rate and a new AdamW each time."""

    __pydantic_config__: ClassVar[Any] = STRICT

    lr: Positive = 2e-5
    """Learning rate."""
    epochs: Count = 1
    """Times every chat is seen."""
    batch: Count = 16
    """Chats a step."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
