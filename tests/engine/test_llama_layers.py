"""Native layers: as close to float32 as the model's own, a chat's own bits, weights held once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.scoring import rewards
from torch import nn
from transformers import AutoTokenizer

from cluster.config import EngineConfig
from cluster.engine import layers_proof, llama_layers
from cluster.engine.checkpoint import locate
from cluster.engine.engine import Engine
from cluster.engine.layers_proof import layers_agree
from cluster.engine.llama_layers import LlamaLayers, is_taken
from cluster.engine.model import PackedRewardModel
from cluster.engine.native import find_compiler
from cluster.engine.packing import pack
from cluster.engine.tuning import tune
from cluster.types import Encoding

pytestmark = pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported() or find_compiler() is None,
    reason="needs a CPU with bf16 instructions and a C++ compiler",
)
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Llama, biases": {"attention_bias": True},
    "Mistral": {"sliding_window": 24},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    "Qwen3": {"head_dim": 64},
    "Llama, rope": {
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    },
}


def build(family: str, **more: Any) -> Any:
    """A random bfloat16 classifier of two layers, every weight and bias of its own."""
    name = family.partition(",")[0]
    library: Any = transformers
    sizes = {"hidden_size": 128, "intermediate_size": 160, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300}
    settings = {**sizes, **heads, "max_position_embeddings": 512, "pad_token_id": 299}
    config = getattr(library, f"{name}Config")(num_labels=1, **(settings | FAMILIES[family] | more))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = getattr(library, f"{name}ForSequenceClassification")(config)
        for parameter in module.parameters():
            around = 1.0 if parameter.ndim == 1 and parameter.mean() > 0.5 else 0.0
            nn.init.normal_(parameter, around, 0.1)
    for parameter in module.parameters():
        parameter.data = parameter.data.bfloat16()
    return module.eval().requires_grad_(False)


def chats() -> list[Encoding]:
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, 290, 50, dtype=np.int32)
    own = [rng.integers(0, 290, n, dtype=np.int32) for n in (1, 30, 70, 200)]
    found = [Encoding(np.concatenate([prompt, x]), 50) for x in own]
    return [*found, *(Encoding(x) for x in own), found[1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_as_close_to_float32_as_the_models_own(family: str) -> None:
    model = PackedRewardModel(build(family), "invariant")
    before = {name: p.clone() for name, p in model.module.named_parameters()}
    batch = pack(chats(), "invariant")
    with torch.inference_mode():
        own = model.pooled(batch).float()
        tune(model, 2048)
        assert model.native_layers is not None
        native = model.pooled(batch).float()
        float32 = PackedRewardModel(model.module.float(), "invariant").pooled(batch)
    for name, parameter in model.module.named_parameters():
        assert torch.equal(parameter, before[name].float())
    noise = (own - float32).norm(dim=-1) / float32.norm(dim=-1)
    found = (native - float32).norm(dim=-1) / float32.norm(dim=-1)
    assert found.max() < 1.5 * noise.max() + 2.0**-8
    assert not torch.equal(own, native)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("native")
    build("Llama", vocab_size=4096, pad_token_id=5).save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    tokenizer.save_pretrained(folder)
    loaded = Engine.load(EngineConfig(model=str(folder), head_dtype="float32"))
    assert loaded.model.native_layers is not None
    return loaded


def test_a_chats_bits_are_those_it_has_alone(engine: Engine) -> None:
    mix = chats()
    if not engine.model.row_sizes:
        pytest.skip("matmul bits depend on the batch on this device")
    alone = [rewards(engine, [chat])[0] for chat in mix]
    assert rewards(engine, mix) == alone
    assert rewards(engine, mix[::-1] * 20) == alone[::-1] * 20


def test_rotary_that_is_not_contiguous_turns_heads_the_same() -> None:
    model = PackedRewardModel(build("Llama"), "fast")
    tune(model, 2048)
    assert model.native_layers is not None
    batch = pack(chats(), "fast")
    body = model.module.base_model
    rotary = body.rotary_emb

    class Strided(nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> list[Any]:
            return [x.mT.contiguous().mT for x in rotary(*args, **kwargs)]

    with torch.inference_mode():
        expected = model.pooled(batch)
        body.rotary_emb = Strided()
        assert torch.equal(model.pooled(batch), expected)


def test_behind_the_last_attention_only_pooled_tokens_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = PackedRewardModel(build("Llama"), "fast")
    tune(model, 2048)
    layers = model.native_layers
    assert layers is not None
    rows = [list[int]() for _ in layers.matmuls()]
    for matmul, seen in zip(layers.matmuls(), rows, strict=True):
        original = matmul.forward

        def counted(x: Any, original: Any = original, seen: list[int] = seen) -> Any:
            seen.append(len(x))
            return original(x)

        monkeypatch.setattr(matmul, "forward", counted)
    with torch.inference_mode():
        model(pack([Encoding(np.arange(n, dtype=np.int32) % 290) for n in (300, 400)], "invariant"))
    sizes = [seen[0] for seen in rows]
    assert set(sizes[:5]) == {sizes[0]}
    assert sizes[0] >= 700
    assert set(sizes[5:]) == {model.row_sizes[0]}


def test_weights_are_held_once(engine: Engine) -> None:
    layers = engine.model.native_layers
    assert layers is not None
    held = {m.weight.untyped_storage().data_ptr() for m in layers.matmuls()}
    own = [
        parameter
        for name, parameter in engine.model.module.named_parameters()
        if name.endswith("_proj.weight")
    ]
    assert len(own) == 7 * 2
    assert {p.untyped_storage().data_ptr() for p in own} == held


def test_the_models_own_layers_are_kept_where_native_ones_disagree(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = LlamaLayers._mlp

    def off(self: LlamaLayers, *rest: Any) -> torch.Tensor:
        return 1.05 * original(self, *rest)

    monkeypatch.setattr(LlamaLayers, "_mlp", off)
    model = PackedRewardModel(build("Llama"), "fast")
    assert not layers_agree(model)
    tune(model, 2048)
    assert model.native_layers is None
    assert "native layers" in caplog.text


@pytest.mark.parametrize(
    "other", [{"hidden_act": "gelu"}, {"intermediate_size": 170}, {"head_dim": 24}], ids=str
)
def test_what_the_kernels_do_not_take_is_left_to_the_model(other: dict[str, Any]) -> None:
    assert is_taken(build("Llama"))
    assert not is_taken(build("Llama").float())
    assert not is_taken(build("Llama", **other))


def test_without_a_compiler_the_models_own_layers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_layers, "load_library", lambda *_: None)
    model = PackedRewardModel(build("Llama"), "fast")
    tune(model, 2048)
    assert model.native_layers is None
    with torch.inference_mode():
        assert model(pack(chats(), "fast")).isfinite().all()


def test_layers_model_asks_for_the_models_own() -> None:
    model = PackedRewardModel(build("Llama"), "fast")
    tune(model, 2048, "model")
    assert model.native_layers is None


def test_what_is_not_a_number_is_no_agreement() -> None:
    nan = torch.full((1, 2), torch.nan)
    assert layers_proof._error(nan, torch.ones(1, 2)) == float("inf")
