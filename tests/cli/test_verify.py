from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.cli import main
from cluster.engine.parity.hf_pipeline import CardPipeline, PipelineReward, TemplateRefusal
from cluster.types import Chat


def test_agreement_is_printed_chat_by_chat_with_status_0(random_checkpoint: Path) -> None:
    arguments = ["verify", "--model", str(random_checkpoint), "--numerics", "reference"]
    done = CliRunner().invoke(main, [*arguments, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "many turns" in done.stdout
    assert "largest difference 0 = 0 ulp, allowed 0 ulp" in done.stdout
    assert done.stdout.endswith("PASSED\n")


def test_disagreement_is_status_1(random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = CardPipeline.reward

    def other(self: CardPipeline, chat: Chat) -> PipelineReward | TemplateRefusal:
        answer = right(self, chat)
        assert isinstance(answer, PipelineReward)
        return PipelineReward(answer.reward + 1.0, answer.input_ids)

    monkeypatch.setattr(CardPipeline, "reward", other)
    done = CliRunner().invoke(main, ["verify", "--model", str(random_checkpoint)])
    assert done.exit_code == 1
    assert done.stdout.endswith("FAILED\n")


def test_a_model_that_cannot_be_loaded_is_status_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["verify", "--model", str(tmp_path)])
    assert done.exit_code == 2
    assert "[model_refused]" in done.stderr
