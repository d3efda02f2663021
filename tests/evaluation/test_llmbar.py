"""LLMBar: five sets by their files, the adversarial average, the published counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.evaluation import Numbers, contender, judged, shares

from cluster.evaluation.run import evaluate
from cluster.evaluation.suites.llmbar import LLMBar, llmbar_set

ROW: dict[str, Any] = {"input": "Hi", "output_1": "1 a", "output_2": "2 b", "label": 2}


def test_columns_are_the_five_sets_and_the_mean_of_the_adversarial_ones(tmp_path: Path) -> None:
    for name, labels in (("Natural", [2, 1]), ("Adversarial/GPTOut", [2]), ("Other", [1])):
        path = tmp_path / name / "dataset.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([ROW | {"label": label} for label in labels]))
    [model] = evaluate("auto", tmp_path, [contender("fake", Numbers())], resamples=10).models
    found = model.report
    assert found.suite == "llmbar"
    assert shares(found.columns) == {
        "Natural": 0.5,
        "Neighbor": None,
        "GPTInst": None,
        "GPTOut": 1.0,
        "Manual": None,
        "adversarial average": 1.0,
    }
    assert (found.score, found.overall) == (0.75, 0.5)
    assert [(line.subset, line.counted) for line in found.lines] == [
        ("Natural", True),
        ("GPTOut", True),
        ("dataset", False),
    ]


def test_sets_are_known_by_either_of_their_files_names() -> None:
    for ours, upstream, name in (
        ("natural.json", "Natural/dataset.json", "Natural"),
        ("adversarial-neighbor.json", "Adversarial/Neighbor/dataset.json", "Neighbor"),
        ("adversarial-gptinst.json", "Adversarial/GPTInst/dataset.json", "GPTInst"),
        ("adversarial-gptout.json", "Adversarial/GPTOut/dataset.json", "GPTOut"),
        ("adversarial-manual.json", "Adversarial/Manual/dataset.json", "Manual"),
    ):
        assert llmbar_set(f"/data/{ours}") == llmbar_set(f"/data/{upstream}") == name
    assert llmbar_set("/data/filtered.json") is None


def test_the_better_output_is_the_one_that_the_label_names(tmp_path: Path) -> None:
    model = judged("llmbar", tmp_path, [ROW, ROW | {"label": 1}], "natural.jsonl")
    assert [one.rewards for one in model.judged] == [(2.0, 1.0), (1.0, 2.0)]


def test_the_real_rows_are_read_whole(shared_data: Path) -> None:
    class Length(Numbers):
        def one(self, item: int, text: str) -> Any:
            return super().one(item, str(len(text)))

    [model] = evaluate(
        "auto", shared_data / "llmbar", [contender("longer", Length())], resamples=10
    ).models
    assert {line.subset: line.n for line in model.report.lines} == dict(LLMBar.sizes)
    assert model.report.complete
    assert model.refused == ()
    # a judge that always prefers the longer output: the share of pairs whose better one is longer
    longer = sum(
        len(one.item.candidates[0].text) > len(one.item.candidates[1].text) for one in model.judged
    )
    assert model.report.overall == longer / 419
    # reported for RewardBench's llmbar-adver-neighbor: allenai/reward-bench, issue 267
    assert round(100 * (model.report.columns["Neighbor"] or 0), 1) == 11.9
    assert model.style.prefers_longer == pytest.approx(1.0)
