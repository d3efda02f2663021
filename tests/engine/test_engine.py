"""Every encoding is answered once, in order, and never with a number the model did not give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster.config import EngineConfig
from cluster.engine.engine import Engine
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import Batch
from cluster.errors import ConfigError, ModelRefused, NotFinite, ScoringFailed
from cluster.types import Encoding, Message, Score


@pytest.fixture(scope="module")
def engine(random_checkpoint: Path) -> Engine:
    return Engine.load(EngineConfig(model=str(random_checkpoint), numerics="fast"))


def sequences(*lengths: int) -> list[Encoding]:
    return [Encoding(np.arange(n, dtype=np.int32) % 250) for n in lengths]


def rewards(results: list[Any]) -> list[float]:
    return [r.reward for r in results]


def test_a_score_says_what_was_scored_and_by_what(engine: Engine) -> None:
    chat: list[Message] = [{"role": "user", "content": "Hi"}]
    encoding = engine.encoder.encode(chat)
    score = engine.score([encoding])[0]
    assert isinstance(score, Score)
    assert score.n_tokens == encoding.n_tokens
    assert (score.n_bos, score.truncated, score.queue_s) == (1, False, 0.0)
    assert score.forward_s > 0
    assert score.revision == engine.info.revision != "unknown"
    assert score.numerics == "fast"


def test_nothing_in_nothing_out(engine: Engine) -> None:
    assert engine.score([]) == []


def test_out_of_memory_splits_the_batch_and_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [noise(n) for n in (40, 5, 100, 30, 10)]
    whole = rewards(engine.score(chats))
    original = engine.rewards

    def small_memory(batch: Batch, *rest: Any) -> list[float]:
        if batch.n_unique_tokens > 60:
            raise torch.OutOfMemoryError("too much")
        found: list[float] = original(batch, *rest)
        return found

    monkeypatch.setattr(engine, "rewards", small_memory)
    results = engine.score(chats)
    error = results.pop(2)
    assert isinstance(error, ScoringFailed)
    assert error.item == 2
    assert "out of memory on 100 tokens alone" in error.message
    np.testing.assert_allclose(rewards(results), whole[:2] + whole[3:], rtol=0, atol=2**-4)


def noise(n: int) -> Encoding:
    """A sequence that shares no prefix with others."""
    return Encoding(np.random.default_rng(n).integers(0, 250, n, dtype=np.int32))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_an_error_of_its_item(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    original = engine.rewards

    def spoiled(batch: Batch, *rest: Any) -> list[float]:
        found = original(batch, *rest)
        return [bad, *found[1:]]

    monkeypatch.setattr(engine, "rewards", spoiled)
    results = engine.score(sequences(10, 20, 30))
    errors = [r for r in results if isinstance(r, NotFinite)]
    assert len(errors) == 1
    assert errors[0].item == results.index(errors[0])
    assert sum(isinstance(r, Score) for r in results) == 2


def test_a_request_over_the_budget_is_scored_alone(random_checkpoint: Path, engine: Engine) -> None:
    small = Engine.load(
        EngineConfig(model=str(random_checkpoint), numerics="fast", token_budget=50)
    )
    chats = sequences(200, 10, 49, 51)
    np.testing.assert_allclose(
        rewards(small.score(chats)), rewards(engine.score(chats)), rtol=0, atol=2**-4
    )


def spoil(folder: Path, target: Path, **changes: Any) -> Path:
    """A copy of a checkpoint with changes to its config.json."""
    import shutil

    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | changes))
    return target


def test_pad_equal_to_end_of_turn_is_refused_with_the_reason(
    random_checkpoint: Path, tmp_path: Path, engine: Engine
) -> None:
    eot = engine.encoder.end_of_turn_id
    folder = spoil(random_checkpoint, tmp_path / "m", pad_token_id=eot)
    with pytest.raises(ModelRefused, match=r"end-of-turn.*\[PAD\]"):
        Engine.load(EngineConfig(model=str(folder)))


def test_a_model_without_a_pad_token_is_served(
    random_checkpoint: Path, tmp_path: Path, engine: Engine
) -> None:
    folder = spoil(random_checkpoint, tmp_path / "m", pad_token_id=None)
    bare = Engine.load(EngineConfig(model=str(folder), numerics="fast"))
    chats = sequences(10, 40)
    assert rewards(bare.score(chats)) == rewards(engine.score(chats))


def test_two_labels_are_refused(random_checkpoint: Path, tmp_path: Path) -> None:
    labels = {"id2label": {"0": "A", "1": "B"}, "label2id": {"A": 0, "B": 1}}
    folder = spoil(random_checkpoint, tmp_path / "m", **labels)
    with pytest.raises(ModelRefused, match="2 labels"):
        Engine.load(EngineConfig(model=str(folder)))


def test_a_missing_model_is_refused_with_what_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="Name a local folder"):
        Engine.load(EngineConfig(model=str(tmp_path / "absent")))


def test_pickled_weights_are_refused(random_checkpoint: Path, tmp_path: Path) -> None:
    folder = spoil(random_checkpoint, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelRefused, match="safetensors"):
        Engine.load(EngineConfig(model=str(folder)))


def test_a_tokenizer_without_a_template_is_refused(random_checkpoint: Path, tmp_path: Path) -> None:
    folder = spoil(random_checkpoint, tmp_path / "m")
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        if (folder / name).exists():
            text = (folder / name).read_text()
            (folder / name).unlink()
            if name.endswith(".json"):
                kept = json.loads(text)
                kept.pop("chat_template", None)
                (folder / name).write_text(json.dumps(kept))
    with pytest.raises(ModelRefused, match="no chat template"):
        Engine.load(EngineConfig(model=str(folder)))


@pytest.mark.parametrize("key", ["min_shared_tokens", "token_budget", "max_tokens"])
def test_a_setting_out_of_range_is_a_config_error_from_python_too(key: str) -> None:
    settings: dict[str, Any] = {key: 0}
    with pytest.raises(ConfigError, match=f"{key}: .* greater than or equal to 1"):
        Engine.load(EngineConfig(**settings))


def test_an_unknown_attention_is_a_config_error(random_checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="use one of auto, cascade, eager"):
        PackedRewardModel.load(EngineConfig(model=str(random_checkpoint), attention="magic"))
