"""The untrained `tiny`: which heads begin by looking for tokens like their own."""

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from cluster.engine.checkpoint import locate
from cluster.tiny.model import HEADS, HIDDEN, KV_HEADS, LAYERS, untrained

TOKENIZER: Any = AutoTokenizer.from_pretrained(locate("tiny"))


def likeness(attention: Any) -> list[float]:
    """Cosine between each head's query weights and the key weights it meets."""
    queries = attention.q_proj.weight.view(HEADS, -1)
    keys = attention.k_proj.weight.view(KV_HEADS, -1, HIDDEN)
    met = keys.repeat_interleave(HEADS // KV_HEADS, dim=0).reshape(HEADS, -1)
    found: list[float] = torch.cosine_similarity(queries, met).tolist()
    return found


@pytest.fixture(scope="module")
def module() -> Any:
    return untrained(TOKENIZER, seed=0)


def test_from_the_second_layer_on_every_second_head_looks_for_its_like(module: Any) -> None:
    for layer in range(1, LAYERS):
        plain, like = (likeness(module.model.layers[layer].self_attn)[i::2] for i in (0, 1))
        assert min(like) > 0.8
        assert max(map(abs, plain)) < 0.3


def test_the_first_layer_is_as_random_as_usual(module: Any) -> None:
    assert max(map(abs, likeness(module.model.layers[0].self_attn))) < 0.3


def test_the_seed_decides_the_weights(module: Any) -> None:
    again, other = untrained(TOKENIZER, seed=0), untrained(TOKENIZER, seed=1)
    assert torch.equal(again.score.weight, module.score.weight)
    assert not torch.equal(other.score.weight, module.score.weight)
