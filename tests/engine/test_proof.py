"""Every architecture is scored as transformers scores it, packed where that is proven."""

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
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cluster.config import EngineConfig
from cluster.engine import proof, twin
from cluster.engine.checkpoint import locate
from cluster.engine.engine import Engine
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import Batch, pack
from cluster.engine.proof import PROMPT_TOKENS, why_not_packed
from cluster.engine.rope import rope_switch
from cluster.errors import ModelRefused
from cluster.types import Encoding, Score

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
}
GPT_OSS = {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 32}
DEEPSEEK = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
LINEAR = {
    "head_dim": 8,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "layer_types": ["linear_attention", "full_attention"],
}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 48,
    "rope_theta": 10000.0,
}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}

JAMBA = {
    "num_experts": 2,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "mamba_d_state": 4,
    "use_mamba_kernels": False,
}

CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaConfig", {}, "packed"),
    "qwen2": ("Qwen2Config", {}, "packed"),
    "mistral_window": ("MistralConfig", {"sliding_window": 32}, "packed"),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "sliding_window": 32}, "packed"),
    "gpt_oss": ("GptOssConfig", GPT_OSS, "packed"),
    "deepseek_v3": ("DeepseekV3Config", DEEPSEEK, "packed"),
    "falcon": ("FalconConfig", {}, "own"),
    "gpt_neo": (
        "GPTNeoConfig",
        {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 32},
        "own",
    ),
    "openai_gpt": ("OpenAIGPTConfig", {"n_positions": 256}, "own"),
    "nemotron": ("NemotronConfig", {}, "own"),
    "stablelm": ("StableLmConfig", {}, "own"),
    "qwen3_next": ("Qwen3NextConfig", LINEAR, "own"),
    "phi3_longrope": (
        "Phi3Config",
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 48},
        "own",
    ),
    "llama_dynamic": (
        "LlamaConfig",
        {"rope_parameters": DYNAMIC, "max_position_embeddings": 64},
        "packed",
    ),
    "gptj": ("GPTJConfig", {"n_embd": 32, "n_head": 4, "n_layer": 2, "rotary_dim": 4}, "packed"),
    "mixtral": ("MixtralConfig", {}, "packed"),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 32}, "packed"),
    "jamba": ("JambaConfig", JAMBA, "own"),
}


def save(folder: Path, name: str, extra: dict[str, Any]) -> Path:
    """A random float32 checkpoint of a transformers config class."""
    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    make: Any = getattr(transformers, name)
    special = {"pad_token_id": tokenizer.pad_token_id, "num_labels": 1}
    # Room for the tokens that AutoTokenizer adds for some kinds of model (Qwen2, GPT-2).
    config = make(**{**SMALL, "vocab_size": len(tokenizer) + 16, **special, **extra})
    torch.manual_seed(0)
    auto: Any = AutoModelForSequenceClassification
    auto.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chats(longest: int) -> list[Encoding]:
    """Two groups on shared prompts and others, up to `longest` tokens."""
    rng = np.random.default_rng(1)
    found = []
    for prompt_len, own in ((40, (3, 20)), (20, (5, 9))):
        prompt = rng.integers(0, 250, prompt_len, dtype=np.int32)
        for n in own:
            ids = np.concatenate([prompt, rng.integers(0, 250, n, dtype=np.int32)])
            found.append(Encoding(ids, prompt_len))
    found += [Encoding(rng.integers(0, 250, n, dtype=np.int32)) for n in (longest, 1, 17)]
    return found


def plain_rewards(folder: Path, encodings: list[Encoding]) -> list[float]:
    """transformers, one chat at a time, by a model that has met no other chat."""
    auto: Any = AutoModelForSequenceClassification
    rewards = []
    loaded = auto.from_pretrained(folder, dtype=torch.float32).eval()
    for encoding in encodings:
        module = copy.deepcopy(loaded)
        ids = torch.from_numpy(encoding.input_ids).long()[None]
        with torch.inference_mode():
            rewards.append(float(module(input_ids=ids, use_cache=False).logits[0, 0]))
    return rewards


@pytest.mark.parametrize("case", CASES)
def test_an_architecture_is_scored_as_by_transformers(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, extra, forward = CASES[case]
    folder = save(tmp_path, name, extra)
    encodings = chats(64 if case == "llama_dynamic" else 120)
    expected = plain_rewards(folder, encodings)
    spread = float(np.std(expected))
    assert spread > 0.01
    for numerics in ("invariant", "fast"):
        caplog.clear()
        config = EngineConfig(model=str(folder), dtype="float32", numerics=numerics)
        with caplog.at_level(logging.WARNING, "cluster.engine.proof"):
            engine = Engine.load(config)
        assert engine.info.forward == forward, caplog.text
        assert engine.info.numerics == numerics
        warned = [r.message for r in caplog.records if "own forward" in r.message]
        assert len(warned) == (forward == "own")
        assert all(engine.info.architecture in text for text in warned)
        results = engine.score(encodings)
        found = [r.reward for r in results if isinstance(r, Score)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5 * max(1, spread))


@pytest.fixture(params=["invariant", "fast"])
def model(request: pytest.FixtureRequest, random_checkpoint: Path) -> PackedRewardModel:
    """A bfloat16 Llama that is rightly packed."""
    return PackedRewardModel.load(
        EngineConfig(model=str(random_checkpoint), numerics=request.param)
    )


def test_a_right_model_is_proven_and_left_as_it_was(model: PackedRewardModel) -> None:
    before = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    assert why_not_packed(model, 2048) is None
    assert why_not_packed(model, 3) is None
    after = model.module.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert model.dtype is torch.bfloat16


def test_a_position_off_by_one_is_seen(
    model: PackedRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pack

    def shifted(*args: Any) -> Batch:
        batch = original(*args)
        positions_T = batch.position_ids_T.copy()
        positions_T[PROMPT_TOKENS + 1] += 1
        return replace(batch, position_ids_T=positions_T)

    monkeypatch.setattr(proof, "pack", shifted)
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

    monkeypatch.setattr(proof, "pack", blind)
    assert why_not_packed(model, 2048) is not None


def test_a_layer_that_goes_past_the_packed_attention_is_counted(
    model: PackedRewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "n_layers", lambda module: 3)
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
    config = make(
        **SMALL, pad_token_id=0, rope_parameters=LONGROPE, original_max_position_embeddings=48
    )
    assert rope_switch(config) == 48
    make = transformers.LlamaConfig
    assert rope_switch(make(rope_parameters=DYNAMIC, max_position_embeddings=64)) == 64
    assert rope_switch(make()) is None


def test_a_config_without_a_longest_conversation_wants_max_tokens(tmp_path: Path) -> None:
    extra = {"n_head": 4, "n_layer": 2, "max_position_embeddings": None}
    folder = save(tmp_path, "BloomConfig", extra)
    config = EngineConfig(model=str(folder), dtype="float32")
    with pytest.raises(ModelRefused, match="set max_tokens"):
        Engine.load(config)
    engine = Engine.load(replace(config, max_tokens=256))
    assert engine.info.forward == "own"
    encodings = chats(120)
    found = [r.reward for r in engine.score(encodings) if isinstance(r, Score)]
    np.testing.assert_allclose(found, plain_rewards(folder, encodings), rtol=0, atol=1e-5)
