"""The tiny model's encoder and its tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.config import EngineConfig
from cluster.engine.checkpoint import locate
from cluster.engine.encoding.encoder import ChatEncoder


@pytest.fixture(scope="module")
def tiny() -> ChatEncoder:
    return ChatEncoder.load(EngineConfig())


@pytest.fixture(scope="module")
def tiny_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(locate("tiny"))
