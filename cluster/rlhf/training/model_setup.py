"""Training model setup: scalar head, pad token, LoRA.

Invariant: whatever comes in, the model that goes out has one label, a chat template, and a pad
token that is neither the end of a turn nor of a text: with pad = end of turn, transformers would
pool the wrong token of what is trained here (RLHF-Reward-Modeling #49, TRL #2758). The new pad is
RLHFlow's `[PAD]`, as in bradley-terry-rm/llama3_8B_rm.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cluster.config import EngineConfig
from cluster.engine.checkpoint import (
    loading_options,
    locate,
    longest,
    refuse_unreachable,
    weight_options,
)
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.loading import refuse_missing
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing_proof import settle
from cluster.errors import ConfigError, ModelRefused
from cluster.rlhf.training.config import LoraSettings, TrainConfig

PAD = "[PAD]"


@dataclass(frozen=True, slots=True)
class StartingModel:
    """What a run trains, and how it encodes and saves it."""

    model: PackedRewardModel
    tokenizer: Any
    encoder: ChatEncoder


def load_starting_model(config: TrainConfig) -> StartingModel:
    """Weights on the CPU; those that take gradients are float32. Raises ModelRefused.

    A checkpoint without a scalar head, such as a chat model, gets a new one, drawn from
    `config.seed` as adapters are.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return _load(config)


def _load(config: TrainConfig) -> StartingModel:
    refuse_unreachable(_checkpoint(config))
    tokenizer = _tokenizer(config)
    module = _module(config)
    closing = _encoder(module, tokenizer, config).closing_ids
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id, *closing):
        _add_pad(module, tokenizer)
    module.config.pad_token_id = tokenizer.pad_token_id
    module.score.float()
    model = PackedRewardModel(module.requires_grad_(True), config.numerics)
    encoder = _encoder(module, tokenizer, config)
    settle(model, encoder.max_tokens)
    _prepare(module, config)
    return StartingModel(model, tokenizer, encoder)


def _checkpoint(config: TrainConfig) -> EngineConfig:
    return EngineConfig(model=config.model, revision=config.revision)


def _encoder(module: Any, tokenizer: Any, config: TrainConfig) -> ChatEncoder:
    text = module.config.get_text_config()
    limit = longest(text, config.max_tokens)
    return ChatEncoder(tokenizer, text.vocab_size, limit, bos=config.bos, truncate=config.truncate)


def _prepare(module: Any, config: TrainConfig) -> None:
    """No dropout: both sides of a pair must meet the same network. Then LoRA and checkpointing."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    if config.lora is not None:
        _add_lora(module, config.lora)
    if config.gradient_checkpointing:
        enable = getattr(module, "activation_checkpointing_enable", None)
        (enable or module.gradient_checkpointing_enable)({"use_reentrant": False})


def _tokenizer(config: TrainConfig) -> Any:
    """Saved with its truncation side, which transformers would else load as `right`."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            locate(config.model), truncation_side="left", **loading_options(_checkpoint(config))
        )
    except (OSError, ValueError) as error:
        raise ModelRefused(f"the tokenizer of {config.model!r} cannot be loaded: {error}") from None
    if not tokenizer.chat_template:
        raise ModelRefused(f"the tokenizer of {config.model!r} has no chat template; set one")
    return tokenizer


def _module(config: TrainConfig) -> Any:
    from transformers import AutoModelForSequenceClassification

    try:
        auto: Any = AutoModelForSequenceClassification
        module, told = auto.from_pretrained(
            locate(config.model),
            num_labels=1,
            dtype=getattr(torch, config.lora.base_dtype) if config.lora else torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **weight_options(_checkpoint(config)),
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelRefused(f"model {config.model!r} cannot be loaded: {error}") from error
    refuse_missing(config.model, told, new="score")
    module.config.use_cache = False
    return module


def _add_pad(module: Any, tokenizer: Any) -> None:
    """`[PAD]` as a new token. Its embedding is never read by a scored token."""
    tokenizer.add_special_tokens({"pad_token": PAD})
    if len(tokenizer) > module.config.get_text_config().vocab_size:
        module.resize_token_embeddings(len(tokenizer), mean_resizing=False)


def _add_lora(module: Any, settings: LoraSettings) -> None:
    """Adapters on every linear layer of the body, in place; the head is trained whole.

    Raises ConfigError where peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ConfigError("LoRA needs: pip install 'reward-cluster[train]'") from None

    layers = "|".join(settings.layers)
    adapters = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=rf".*\.({layers})",
    )
    try:
        inject_adapter_in_model(adapters, module)
    except ValueError as error:  # no layer has such a name
        raise ConfigError(f"lora.layers: {error}") from None
    module.score.requires_grad_(True)
    for weight in module.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
