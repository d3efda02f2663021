"""The model card's pipeline, as it has to be written for transformers 5.

`tokenizer.apply_chat_template(chat, tokenize=False).replace(bos, "")` through the text
classification pipeline, one chat at a time, `top_k=None`, raw logits. What every claim of parity
is measured against; shares no code with the engine beyond where the files are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jinja2 import TemplateError

from cluster.config import EngineConfig
from cluster.engine.checkpoint import load_config, locate, pretrained_options
from cluster.engine.model import resolve_device
from cluster.types import Chat


@dataclass(frozen=True, slots=True)
class PipelineReward:
    """input_ids: what the pipeline's tokenizer made of the chat, BOS included."""

    reward: float
    input_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TemplateRefusal:
    """The model's template does not render this chat, say for want of a system role."""

    reason: str


class CardPipeline:
    """The plain pipeline over `config`'s model, in `config.dtype`, on `config.device`."""

    def __init__(self, config: EngineConfig) -> None:
        from transformers import pipeline

        load_config(config)
        self._pipe: Any = pipeline(
            "text-classification",
            model=locate(config.model),
            dtype=getattr(torch, config.dtype),
            device=resolve_device(config.device),
            **pretrained_options(config),
        )

    def reward(self, chat: Chat) -> PipelineReward | TemplateRefusal:
        """The card's number for one chat."""
        try:
            text = self._render(chat)
        except TemplateError as error:
            return TemplateRefusal(str(error))
        output = self._pipe(text, top_k=None, function_to_apply="none", batch_size=1)
        ids = self._pipe.tokenizer(text)["input_ids"]
        return PipelineReward(output[0]["score"], tuple(ids))

    def rewards(self, chats: Sequence[Chat]) -> list[PipelineReward | TemplateRefusal]:
        """One chat after another."""
        return [self.reward(chat) for chat in chats]

    def _render(self, chat: Chat) -> str:
        tokenizer = self._pipe.tokenizer
        text = cast(
            str,
            tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=False),
        )
        return text.replace(tokenizer.bos_token, "") if tokenizer.bos_token else text
