"""Tokenizers and encodings for the engine's tests."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

LLAMA3_TEMPLATE = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_NAMED = {
    0: "begin_of_text",
    1: "end_of_text",
    6: "start_header_id",
    7: "end_header_id",
    9: "eot_id",
}


@pytest.fixture(autouse=True, scope="module")
def _all_threads() -> Iterator[None]:
    """As many as a user's engine has: bits may follow their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def llama3_tokenizer(shared_data: Path) -> Any:
    """The real Llama-3 vocabulary with its special tokens, BOS post-processor and `[PAD]`."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    class Converter(TikTokenConverter):
        @staticmethod
        def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
            lines = Path(tiktoken_url).read_bytes().splitlines()
            return {base64.b64decode(a): int(b) for a, b in (line.split() for line in lines)}

    names = [f"<|{_NAMED.get(i, f'reserved_special_token_{i}')}|>" for i in range(256)]
    vocabulary = shared_data / "llama3" / "tokenizer.model"
    convert: Any = Converter
    backend = convert(vocab_file=str(vocabulary), extra_special_tokens=names).converted()
    bos = names[0]
    backend.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
    )
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(
        tokenizer_object=backend, bos_token=bos, eos_token="<|eot_id|>", pad_token="[PAD]"
    )
    tokenizer.chat_template = LLAMA3_TEMPLATE
    return tokenizer


@pytest.fixture(scope="module")
def load(random_checkpoint: Path) -> Any:
    """An engine of the random checkpoint with the given settings, loaded once each."""
    from cluster.config import EngineConfig
    from cluster.engine.engine import Engine

    @cache
    def loaded(**settings: Any) -> Engine:
        return Engine.load(EngineConfig(model=str(random_checkpoint), **settings))

    return loaded
