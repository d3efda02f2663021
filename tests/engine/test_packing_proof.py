"""A model is packed only where that is proven; else it is told, and refused where it must be."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.architecture_variants import LONGROPE, SMALL, VARIANTS
from support.architectures import chats, plain_rewards, save_random

from cluster.config import EngineConfig
from cluster.engine import packing_proof, twin
from cluster.engine.engine import Engine
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import Batch, pack
from cluster.engine.packing_proof import PROMPT_TOKENS, why_not_packed
from cluster.engine.rope import rope_switch
from cluster.errors import ModelRefused
from cluster.types import Numerics, Score


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
@pytest.mark.parametrize("name", ["falcon", "nemotron", "qwen3_next"])
def test_a_model_that_is_not_proven_is_told_once_by_name(
    name: str, numerics: Numerics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = EngineConfig(
        model=str(save_random(tmp_path, *VARIANTS[name])), dtype="float32", numerics=numerics
    )
    with caplog.at_level(logging.WARNING, "cluster.engine.packing_proof"):
        info = Engine.load(config).info
    assert (info.forward, info.numerics) == ("own", numerics)
    [warned] = [r.message for r in caplog.records if "own forward" in r.message]
    assert info.architecture in warned
    assert info.not_packed in warned


@pytest.fixture(params=["invariant", "fast"])
def model(request: pytest.FixtureRequest, random_checkpoint: Path) -> PackedRewardModel:
    """A bfloat16 Llama that is rightly packed."""
    return PackedRewardModel.load(
        EngineConfig(model=str(random_checkpoint), numerics=request.param)
    )


def test_a_right_model_is_proven_and_left_as_it_was(model: PackedRewardModel) -> None:
    dtype = model.dtype  # float32 where the processor has no bfloat16
    before = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    assert why_not_packed(model, 2048) is None
    assert why_not_packed(model, 3) is None
    after = model.module.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert model.dtype is dtype


def test_a_position_off_by_one_is_seen(
    model: PackedRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pack

    def shifted(*args: Any) -> Batch:
        batch = original(*args)
        positions_T = batch.position_ids_T.copy()
        positions_T[PROMPT_TOKENS + 1] += 1
        return replace(batch, position_ids_T=positions_T)

    monkeypatch.setattr(packing_proof, "pack", shifted)
    assert "hidden states differ" in (why_not_packed(model, 2048) or "")


def test_the_last_token_of_a_prompt_unseen_is_seen(
    model: PackedRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pack

    def blind(*args: Any) -> Batch:
        batch = original(*args)
        parents = {segment.parent for segment in batch.segments} - {-1}
        segments = [
            replace(segment, end=segment.end - 1) if index in parents else segment
            for index, segment in enumerate(batch.segments)
        ]
        return replace(batch, segments=tuple(segments))

    monkeypatch.setattr(packing_proof, "pack", blind)
    assert why_not_packed(model, 2048) is not None


def test_a_layer_that_goes_past_the_packed_attention_is_counted(
    model: PackedRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing_proof, "n_layers", lambda module: 3)
    assert "2 of its 3 layers" in (why_not_packed(model, 2048) or "")


def test_a_large_model_is_proven_on_its_first_layers(
    model: PackedRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twin, "WHOLE_PARAMETERS", 0)
    module = model.module
    module.model.layers.extend([copy.deepcopy(module.model.layers[0]) for _ in range(2)])
    module.config.num_hidden_layers = 4
    small = twin.float32_twin(module)
    assert len(small.model.layers) == small.config.num_hidden_layers == 2
    assert len(module.model.layers) == module.config.num_hidden_layers == 4
    assert why_not_packed(model, 2048) is None


def test_a_model_that_fails_by_itself_is_refused(
    model: PackedRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(type(model.module), "forward", broken)
    with pytest.raises(ModelRefused, match=r"LlamaForSequenceClassification fails.*no such kernel"):
        why_not_packed(model, 2048)


def test_a_head_that_is_more_than_linear_is_refused(
    model: PackedRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = type(model.module).forward

    def bent(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        output.logits = output.logits + 1
        return output

    monkeypatch.setattr(type(model.module), "forward", bent)
    with pytest.raises(ModelRefused, match="more than its linear head"):
        why_not_packed(model, 2048)


def test_the_switch_of_a_rope_is_found() -> None:
    make: Any = transformers.Phi3Config
    config = make(**SMALL, **LONGROPE, pad_token_id=0)
    assert rope_switch(config) == 48
    make = transformers.LlamaConfig
    dynamic = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    assert rope_switch(make(rope_parameters=dynamic, max_position_embeddings=64)) == 64
    assert rope_switch(make()) is None


def test_a_config_without_a_longest_conversation_wants_max_tokens(tmp_path: Path) -> None:
    extra = {"n_head": 4, "n_layer": 2, "max_position_embeddings": None}
    folder = save_random(tmp_path, "BloomConfig", extra)
    config = EngineConfig(model=str(folder), dtype="float32")
    with pytest.raises(ModelRefused, match="set max_tokens"):
        Engine.load(config)
    engine = Engine.load(replace(config, max_tokens=256))
    assert engine.info.forward == "own"
    encodings = chats(120)
    found = [r.reward for r in engine.score(encodings) if isinstance(r, Score)]
    np.testing.assert_allclose(found, plain_rewards(folder, encodings), rtol=0, atol=1e-5)
