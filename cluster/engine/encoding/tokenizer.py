"""Tokenizer loading, and the special tokens that it adds around a text.

Knows nothing of chats.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from cluster.config import EngineConfig
from cluster.engine.checkpoint import loading_options, locate
from cluster.errors import ModelRefused
from cluster.types import BosPolicy


def load_tokenizer(config: EngineConfig, **options: Any) -> Any:
    """The tokenizer of `config.model`, with a chat template.

    options: for `from_pretrained`. Raises ModelRefused if there is none, or no template to use.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            locate(config.model), **loading_options(config), **options
        )
    except Exception as error:
        # Files of any origin, and Python of the checkpoint's author: anything may be raised.
        raise ModelRefused(
            f"the tokenizer of {config.model!r} cannot be loaded: {error}"
        ) from error
    template = tokenizer.chat_template
    if not template:
        raise ModelRefused(
            f"the tokenizer of {config.model!r} has no chat template; set "
            "tokenizer.chat_template to the one the model was trained with and save it"
        )
    if isinstance(template, dict) and "default" not in template:
        raise ModelRefused(
            f"the tokenizer of {config.model!r} has several chat templates "
            f"({', '.join(sorted(template))}) and none is the default; set "
            "tokenizer.chat_template to the one the model was trained with and save it"
        )
    return tokenizer


def refuse_foreign_ids(tokenizer: Any, vocab_size: int) -> None:
    """Raises ModelRefused for a tokenizer with ids that the model has no embedding of."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= vocab_size:
        raise ModelRefused(
            f"the tokenizer has ids up to {largest} and the model a vocabulary of {vocab_size}; "
            "use the tokenizer that the model was trained with, or "
            "model.resize_token_embeddings(len(tokenizer)) and train again"
        )


def refuse_closing_pad(pad: int | None, closing_ids: Collection[int]) -> None:
    """Refuse pad == end-of-turn: transformers would then pool a token inside the chat.

    This engine pools by length and would not, so its rewards would differ from every other tool's.
    """
    if pad is not None and pad in closing_ids:
        raise ModelRefused(
            f"pad_token_id {pad} is the end-of-turn token, or another that closes a chat, so "
            "transformers pools the wrong token and chosen and rejected may score alike. Add a pad "
            "token of its own (tokenizer.add_special_tokens({'pad_token': '[PAD]'})), set "
            "config.pad_token_id to it and train again"
        )


def added_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer's post-processor puts before and behind a text.

    Raises ModelRefused if that is ambiguous.
    """
    plain = tokenizer("x", add_special_tokens=False)["input_ids"]
    full = tokenizer("x")["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start], full[start + len(plain) :]
    raise ModelRefused(
        f"the tokenizer makes {full} of 'x' and {plain} without special tokens, so what it adds "
        "is ambiguous; set its post-processor to one that only adds ids around the text"
    )


def with_bos(prefix: list[int], bos_id: int | None, policy: BosPolicy) -> list[int]:
    """The prefix with as many BOS as the policy says."""
    if policy == "tokenizer":
        return prefix
    rest = [id_ for id_ in prefix if id_ != bos_id]
    return rest if policy == "none" or bos_id is None else [bos_id, *rest]


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each id, special tokens included. A part of a character is shown as U+FFFD."""
    texts: list[str] = tokenizer.batch_decode([[i] for i in ids], skip_special_tokens=False)
    return texts
