"""Prompts are kept only for models whose hits are proven at load to be as good as misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer, MistralConfig

from cluster.config import EngineConfig
from cluster.engine.checkpoint import locate
from cluster.engine.engine import Engine
from cluster.engine.prefix_cache import CachedForward, PromptCache
from cluster.engine.prefix_proof import prove


@pytest.fixture(scope="module", params=["invariant", "fast"])
def engine(request: pytest.FixtureRequest, random_checkpoint: Path) -> Engine:
    return Engine.load(EngineConfig(model=str(random_checkpoint), numerics=request.param))


def proven(engine: Engine) -> bool:
    exact = engine.config.numerics == "invariant"
    return prove(engine.score, engine.prompts, engine.model.module.config, 2048, exact)


def test_a_plain_model_keeps_prompts_and_starts_with_none(engine: Engine) -> None:
    assert proven(engine)
    fresh = Engine.load(engine.config)
    assert fresh.prompts.max_bytes == 256 * 2**20
    assert (fresh.prompts.stats.prompts, fresh.prompts.stats.hits) == (0, 0)


def test_keys_of_another_layer_are_found_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PromptCache.end

    def swapping(self: PromptCache, forward: CachedForward) -> None:
        for prompt in forward.new.values():
            prompt.keys[0], prompt.keys[1] = prompt.keys[1], prompt.keys[0]
        original(self, forward)

    monkeypatch.setattr(PromptCache, "end", swapping)
    assert not proven(engine)


def test_a_value_off_by_little_is_found_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.config.numerics == "fast":
        pytest.skip("only bits are compared this closely")
    original = PromptCache.end

    def rounding(self: PromptCache, forward: CachedForward) -> None:
        for prompt in forward.new.values():
            prompt.values[1] = prompt.values[1] * 1.01
        original(self, forward)

    monkeypatch.setattr(PromptCache, "end", rounding)
    assert not proven(engine)


def test_a_model_that_goes_past_the_packed_attention_keeps_nothing(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def past(self: CachedForward, attend: Any) -> Any:
        return attend

    monkeypatch.setattr(CachedForward, "wrap", past)
    assert Engine.load(EngineConfig(model=str(random_checkpoint))).prompts.max_bytes == 0


def test_a_window_is_crossed_by_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    make: Any = MistralConfig
    config = make(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=48,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )
    auto: Any = AutoModelForSequenceClassification
    auto.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = Engine.load(EngineConfig(model=str(tmp_path), dtype="float32"))
    assert engine.prompts.max_bytes > 0
    longest: list[int] = []
    original = CachedForward.wrap

    def seen(self: CachedForward, attend: Any) -> Any:
        longest.extend(prompt.n_tokens for prompt in self.known)
        return original(self, attend)

    monkeypatch.setattr(CachedForward, "wrap", seen)
    assert proven(engine)
    assert max(longest) > 48


def test_the_proof_takes_any_length_that_fits(engine: Engine) -> None:
    module = engine.model.module.config
    exact = engine.config.numerics == "invariant"
    assert prove(engine.score, engine.prompts, module, 9, exact)
