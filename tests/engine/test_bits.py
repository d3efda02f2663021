"""`invariant`: a chat's bits are its own, with experts, odd thread counts and activations too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import save_random
from support.scoring import rewards

from cluster.config import EngineConfig
from cluster.engine import batch_invariance, bits_proof, experts
from cluster.engine.batch_invariance import candidate_sizes
from cluster.engine.bits_proof import keeps_bits
from cluster.engine.cpu_rows import LANES, whole_vectors
from cluster.engine.engine import Engine
from cluster.types import Encoding

WIDE = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 1024}
MOE = {**WIDE, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
GPT_OSS = {
    **WIDE,
    "head_dim": 16,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 64,
}
ODD = {**WIDE, "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4}


def chats(n: int = 36) -> list[Encoding]:
    rng = np.random.default_rng(3)
    return [Encoding(rng.integers(0, 250, int(k), dtype=np.int32)) for k in rng.integers(3, 300, n)]


@contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def alone(engine: Engine, encodings: list[Encoding]) -> list[float]:
    return [rewards(engine, [encoding])[0] for encoding in encodings]


def engine_of(folder: Path, **settings: Any) -> Engine:
    """Float32 heads: the grid of a bfloat16 one would hide what is looked for."""
    return Engine.load(
        EngineConfig(model=str(folder), head_dtype="float32", prompt_cache_mib=0, **settings)
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "extra"),
    [("MixtralConfig", WIDE), ("Qwen3MoeConfig", MOE), ("GptOssConfig", GPT_OSS)],
    ids=["mixtral", "qwen3_moe", "gpt_oss"],
)
def test_experts_keep_a_chats_bits(
    tmp_path: Path, name: str, extra: dict[str, Any], dtype: str
) -> None:
    engine = engine_of(save_random(tmp_path, name, extra), dtype=dtype)
    assert engine.info.forward == "packed"
    assert rewards(engine, chats(14)) == alone(engine, chats(14))


@pytest.mark.parametrize("n_threads", [1, 3, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "settings",
    [{"dtype": "float32"}, {"compute": "float32"}, {"compute": "model"}],
    ids=["float32", "widened", "bfloat16"],
)
def test_any_number_of_threads_keeps_a_chats_bits(
    tmp_path: Path, n_threads: int, settings: dict[str, Any]
) -> None:
    folder = save_random(tmp_path, "LlamaConfig", ODD)
    with threads(n_threads):
        engine = engine_of(folder, **settings)
        assert engine.info.forward == "packed"
        assert rewards(engine, chats()) == alone(engine, chats())
        halves = rewards(engine, chats()[:18]) + rewards(engine, chats()[18:])
        assert rewards(engine, chats()) == halves


def test_experts_keep_a_chats_bits_with_three_threads(tmp_path: Path) -> None:
    extra = {**ODD, "num_local_experts": 2, "num_experts_per_tok": 1}
    with threads(3):
        engine = engine_of(save_random(tmp_path, "MixtralConfig", extra), dtype="float32")
        assert engine.info.forward == "packed"
        assert rewards(engine, chats(20)) == alone(engine, chats(20))


def test_threads_that_are_no_power_of_two_have_row_counts_of_their_own(
    random_checkpoint: Path,
) -> None:
    with threads(3):
        sizes = engine_of(random_checkpoint, dtype="float32").model.row_sizes
    assert [size for size in sizes if size % 128 and size > 64]
    assert not [size for size in sizes if size % 192 and size > 1024]


def test_no_part_of_a_thread_ends_within_a_vector() -> None:
    assert whole_vectors((64, 128, 2048), {4096, 14336}, 2) == (64, 128, 2048)
    # 256 x 344 elements are more than two grains: three parts of 29,355.
    assert whole_vectors((64, 128, 256, 384), {344}, 3) == (64, 128, 384)
    assert whole_vectors((64,), {LANES // 2 + 1}, 1) == (64,)
    assert whole_vectors((8,), {LANES // 2 + 1}, 1) == ()


def test_experts_without_fixed_row_counts_run_one_chat_a_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_random(tmp_path, "MixtralConfig", WIDE)
    monkeypatch.setattr(batch_invariance, "fix_expert_rows", lambda *_: False)
    engine = engine_of(folder, dtype="float32")
    assert (engine.info.forward, engine.info.numerics) == ("alone", "invariant")
    assert sum("one chat a forward" in record.message for record in caplog.records) == 1
    assert rewards(engine, chats(14)) == alone(engine, chats(14))


def test_an_architecture_that_loops_over_its_own_experts_runs_one_chat_a_forward(
    tmp_path: Path,
) -> None:
    extra = {**WIDE, "num_local_experts": 4, "num_experts_per_tok": 2, "kv_channels": 16}
    engine = engine_of(save_random(tmp_path, "JetMoeConfig", extra), dtype="float32")
    assert engine.info.forward in ("alone", "own")
    assert rewards(engine, chats(12)) == alone(engine, chats(12))


def test_a_layer_whose_bits_follow_its_batch_is_found_out_at_load(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(random_checkpoint)
    engine.model.native_layers = None  # they run no module that could be spoiled below
    assert engine.info.forward == "packed"
    assert keeps_bits(engine.model, 2048)

    def by_rows(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output * 1.01 if output.shape[1] > 500 else output

    mlp = engine.model.module.base_model.layers[0].mlp
    with caplog.at_level(logging.WARNING):
        hook = mlp.register_forward_hook(by_rows)
        assert not keeps_bits(engine.model, 2048)
        bits_proof.keep_promise(engine.model, 2048)
        hook.remove()
    assert engine.model.row_sizes == ()
    assert sum("one chat a forward" in record.message for record in caplog.records) == 1


def test_a_gpu_is_tried_at_row_counts_up_to_the_largest(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = engine_of(random_checkpoint).model
    model.native_layers = None  # they run no module that could be spoiled below
    model.row_sizes = candidate_sizes("cuda", 4352)
    assert bits_proof.trial_sizes(model) == ()
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    sizes = bits_proof.trial_sizes(model)
    assert sizes == (1024, 2048, 4096)
    monkeypatch.undo()
    monkeypatch.setattr(bits_proof, "trial_sizes", lambda _: sizes)
    rows: list[int] = []

    def by_rows(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        rows.append(output.shape[1])
        return output * 1.01 if output.shape[1] > 4000 else output

    hook = model.module.base_model.layers[0].mlp.register_forward_hook(by_rows)
    assert not keeps_bits(model, 2048)
    hook.remove()
    assert set(rows) == {256, 512, *sizes}


def test_chats_beyond_the_row_counts_that_were_tried_run_alone(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(random_checkpoint, dtype="float32")
    engine.model.row_sizes = (64, 128)
    prompt = chats()[0].input_ids.repeat(2)[:150]
    mix = [
        Encoding(np.concatenate([prompt, [i, i + 1]]).astype(np.int32), len(prompt))
        for i in range(3)
    ]
    sizes: list[int] = []
    original = engine.rewards

    def counted(batch: Any, *rest: Any) -> list[float]:
        sizes.append(len(batch))
        found: list[float] = original(batch, *rest)
        return found

    monkeypatch.setattr(engine, "rewards", counted)
    rewards(engine, mix)
    assert sizes == [1, 1, 1]


def test_a_head_sums_over_as_many_rows_as_settle_its_order_on_a_gpu(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA gives a row of a sum fewer threads from 16 rows on; see `HEAD_ROWS`."""
    n_rows: list[int] = []
    original = torch.Tensor.sum

    def counted(self: torch.Tensor, *args: Any) -> torch.Tensor:
        n_rows.append(len(self))
        return original(self, *args)

    model = engine_of(random_checkpoint).model
    monkeypatch.setattr(torch.Tensor, "sum", counted)
    with torch.inference_mode():
        few = model.head(torch.ones(3, 64, dtype=model.dtype))
        many = model.head(torch.ones(40, 64, dtype=model.dtype))
    assert n_rows == [16, 40]
    assert few.shape == (3,)
    assert torch.equal(few, many[:3])


def test_expert_widths_and_configs_are_seen(tmp_path: Path) -> None:
    engine = engine_of(save_random(tmp_path, "Qwen3MoeConfig", MOE))
    assert experts.has_experts(engine.model.module)
    assert experts.expert_widths(engine.model.module) == {64, 128}
