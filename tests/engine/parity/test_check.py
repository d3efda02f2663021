from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from support.model_info import model_info
from torch import Tensor

from cluster.config import EngineConfig, FakeGpuConfig
from cluster.engine import packing_proof as proof
from cluster.engine.model import PackedRewardModel
from cluster.engine.offline import OfflineScorer
from cluster.engine.parity import check
from cluster.engine.parity.chats import CHATS
from cluster.engine.parity.check import VerifyReport, VerifyRow, bound_ulp, verify
from cluster.engine.parity.hf_pipeline import CardPipeline, PipelineReward
from cluster.errors import ModelRefused
from cluster.serving.replica.backends import backend_factory
from cluster.types import Encoding, Message, Numerics

INFO = model_info(numerics="reference")


def report(*rows: VerifyRow, bound: float = 0.0) -> VerifyReport:
    return VerifyReport(INFO, rows, (), bound)


def row(pipeline: float, engine: float, same_ids: bool = True) -> VerifyRow:
    return VerifyRow("a", 5, same_ids, pipeline, engine)


@pytest.mark.parametrize("numerics", get_args(Numerics))
def test_a_right_engine_passes(random_checkpoint: Path, numerics: Numerics) -> None:
    found = verify(EngineConfig(model=str(random_checkpoint), device="cpu", numerics=numerics))
    assert [row.name for row in found.rows] == [name for name, _ in CHATS]
    assert found.passed
    assert (found.max_difference == 0.0) or numerics != "reference"


def test_reference_is_bit_equal_in_the_arithmetic_of_every_dtype(random_checkpoint: Path) -> None:
    config = EngineConfig(model=str(random_checkpoint), device="cpu", numerics="reference")
    for dtype in ("bfloat16", "float16", "float32"):
        found = verify(replace(config, dtype=dtype))
        assert found.passed
        assert found.max_difference == 0.0


def test_settings_that_the_pipeline_has_not_are_set_as_in_the_pipeline(
    random_checkpoint: Path,
) -> None:
    config = EngineConfig(model=str(random_checkpoint), device="cpu", numerics="reference")
    assert verify(replace(config, bos="none", head_dtype="float32")).passed


def test_the_rewards_of_the_set_differ_by_far_more_than_the_bound(random_checkpoint: Path) -> None:
    found = verify(EngineConfig(model=str(random_checkpoint), device="cpu", numerics="reference"))
    rewards = [row.pipeline for row in found.rows]
    assert max(rewards) - min(rewards) > 16 * found.ulp


def test_a_wrong_engine_fails(random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = OfflineScorer.encode

    def forget_the_bos(self: OfflineScorer, chats: list[list[Message]]) -> list[Encoding]:
        encodings = [e for e in encode(self, chats) if isinstance(e, Encoding)]
        return [replace(e, input_ids=e.input_ids[1:]) for e in encodings]

    monkeypatch.setattr(OfflineScorer, "encode", forget_the_bos)
    found = verify(EngineConfig(model=str(random_checkpoint), device="cpu", numerics="reference"))
    assert not found.passed
    assert not any(row.same_ids for row in found.rows)
    assert found.max_difference > 0.0


def test_a_server_that_asks_for_the_check_starts_only_if_it_passes(random_checkpoint: Path) -> None:
    config = EngineConfig(model=str(random_checkpoint), device="cpu", verify_at_start=True)
    load = backend_factory("engine", FakeGpuConfig())
    assert load(config).info.model == str(random_checkpoint)
    with pytest.raises(ModelRefused, match="scored unlike the plain pipeline"):
        load(replace(config, max_tokens=100))


def test_a_chat_too_long_for_the_model_is_a_problem_and_no_pass(random_checkpoint: Path) -> None:
    config = EngineConfig(model=str(random_checkpoint), device="cpu", max_tokens=100)
    found = verify(config)
    problems = [row for row in found.rows if row.problem is not None]
    assert problems
    assert all("more than 100" in str(row.problem) for row in problems)
    assert not found.passed


def test_the_ulp_is_the_spacing_at_the_largest_reward() -> None:
    assert report(row(0.1, 0.1), row(-1.5, -1.5)).ulp == 2.0**-7
    assert report(row(3.0, 3.0)).ulp == 2.0**-6
    assert replace(report(row(1.5, 1.5)), info=replace(INFO, dtype="float32")).ulp == 2.0**-23


def test_the_bound_decides_and_is_inclusive() -> None:
    assert report(row(1.5, 1.5 + 2.0**-7), bound=1.0).passed
    assert not report(row(1.5, 1.5 + 2.0**-7), bound=0.5).passed


def test_other_ids_a_problem_or_no_row_at_all_are_no_pass() -> None:
    assert report(row(1.5, 1.5)).passed
    assert not report(row(1.5, 1.5), row(1.5, 1.5, same_ids=False)).passed
    assert not report(row(1.5, 1.5), VerifyRow("b", 3, True, problem="broken")).passed
    assert not report().passed


def test_only_reference_on_a_cpu_is_held_to_equality() -> None:
    assert bound_ulp(INFO) == 0.0
    assert bound_ulp(replace(INFO, device="cuda:0")) > 0.0
    assert bound_ulp(replace(INFO, numerics="fast")) > 0.0


def test_a_template_that_refuses_a_role_is_skipped_by_name(
    random_checkpoint: Path, tmp_path: Path
) -> None:
    for file in random_checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    template = tmp_path / "chat_template.jinja"
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    template.write_text(refusal + template.read_text())
    config = EngineConfig(model=str(tmp_path), device="cpu", numerics="reference")
    assert verify(config).skipped == ("system",)


def test_the_pipeline_answers_a_number_and_its_ids(random_checkpoint: Path) -> None:
    pipeline = CardPipeline(EngineConfig(model=str(random_checkpoint), device="cpu"))
    answer = pipeline.reward([Message(role="user", content="Hi")])
    assert isinstance(answer, PipelineReward)
    assert math.isfinite(answer.reward)
    assert len(set(answer.input_ids)) > 3


def test_a_fault_below_the_noise_of_bfloat16_is_seen_in_float32(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EngineConfig(model=str(random_checkpoint), device="cpu", numerics="fast")
    right = verify(config)
    assert right.float32 is not None
    assert right.passed
    assert "proven at load" in right.findings[-1]
    head = PackedRewardModel.head

    def off(self: PackedRewardModel, pooled_ND: Tensor) -> Tensor:
        return head(self, pooled_ND) + 3 * right.ulp

    monkeypatch.setattr(proof, "difference", lambda *_: None)
    monkeypatch.setattr(PackedRewardModel, "head", off)
    found = verify(config)
    assert found.max_difference <= found.bound_ulp * found.ulp
    assert found.float32 is not None
    assert not found.float32.passed
    assert not found.passed


def test_what_does_not_fit_is_not_compared_in_float32_and_the_report_says_so(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "free_bytes", lambda _: 0)
    found = verify(EngineConfig(model=str(random_checkpoint), device="cpu"))
    assert found.float32 is None
    assert any("not compared in float32: its weights need" in line for line in found.findings)


def test_the_reason_for_an_own_forward_is_told(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "n_layers", lambda module: 3)
    found = verify(EngineConfig(model=str(random_checkpoint), device="cpu"))
    assert found.info.forward == "own"
    assert found.passed
    assert "its own forward, one chat at a time, as only 2 of its 3 layers" in found.findings[-1]
