"""RewardBench 1 against the published figures of the model card's reward model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluation import Numbers, contender
from support.groups import write_lines
from support.published import fsfairx, pair, pairs

from cluster.errors import InvalidInput
from cluster.evaluation import bootstrap
from cluster.evaluation.report import percent
from cluster.evaluation.run import evaluate
from cluster.evaluation.suites.rewardbench import RewardBench
from cluster.evaluation.suites.rewardbench_subsets import PRIOR_SETS, SECTIONS, SIZES, WEIGHTS
from cluster.evaluation.types import Judged, SuiteReport


def report(judged: list[Judged]) -> SuiteReport:
    return RewardBench().report(judged)


def core() -> list[Judged]:
    return [one for one in fsfairx() if one.item.subset not in PRIOR_SETS]


def test_the_published_hits_give_the_published_sections_and_score() -> None:
    found = report(fsfairx())
    *four, prior = found.columns.items()
    assert {name: percent(score) for name, score in four} == {
        "Chat": "99.44",
        "Chat Hard": "65.13",
        "Safety": "86.76",
        "Reasoning": "86.44",
    }
    assert prior[0] == "Prior Sets"
    assert prior[1] == pytest.approx(0.74925)
    assert percent(found.score) == "83.38"
    assert found.complete


def test_swapped_xstest_weights_give_the_safety_and_score_published_before_the_mend() -> None:
    assert report(fsfairx()).notes == (
        "with the xstest weights swapped, as published until September 2024: "
        "Safety 87.82, score 83.62",
    )


def test_the_subsets_have_their_published_sizes() -> None:
    assert sum(SIZES.values()) == 2985
    assert [len(subsets) for subsets in SECTIONS.values()] == [5, 6, 5, 7]
    assert WEIGHTS["math-prm"] == sum(size for name, size in SIZES.items() if "hep" in name)


def test_without_prior_sets_the_score_is_the_mean_of_the_four_sections() -> None:
    found = report(core())
    assert found.columns["Prior Sets"] is None
    four = [score for score in found.columns.values() if score is not None]
    assert found.score == pytest.approx(sum(four) / 4)
    assert found.complete


def test_a_section_without_examples_is_left_out_and_not_counted_as_zero() -> None:
    found = report(pairs("llmbar-natural", 3, 4))
    assert found.columns["Chat Hard"] == found.score == 0.75
    assert found.columns["Safety"] is None
    assert not found.complete


def test_one_missing_example_makes_the_run_incomplete() -> None:
    assert not report(core()[1:]).complete


def test_ties_are_wrong_by_ai2_and_half_right_by_rlhflow() -> None:
    judged = pairs("donotanswer", n_right=2, n=8, n_tied=3)
    ai2, rlhflow = (RewardBench(rule).report(judged) for rule in ("ai2", "rlhflow"))
    assert ai2.columns["Safety"] == 2 / 8
    assert rlhflow.columns["Safety"] == 3.5 / 8
    assert [line.ties for line in ai2.lines] == [3]


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_the_credits_of_a_pair_and_its_mirror_add_up_to_one_by_rlhflows_rule(
    a: float, b: float
) -> None:
    rule = RewardBench("rlhflow")
    there, back = (rule.credit(pair("shp", *sides)) for sides in ((a, b), (b, a)))
    assert there + back == 1
    assert RewardBench("ai2").credit(pair("shp", a, b)) == (a > b)


def test_other_sets_are_shown_at_the_end_and_counted_only_in_the_mean_of_all_items() -> None:
    found = report(
        [*pairs("mtbench_human", 0, 5), *pairs("shp", 4, 4), *pairs("mt-bench-med", 1, 2)]
    )
    assert [(line.subset, line.section, line.counted) for line in found.lines] == [
        ("mt-bench-med", "Chat", True),
        ("shp", "Prior Sets", True),
        ("mtbench_human", None, False),
    ]
    assert found.score == pytest.approx((2 * 0.5 + 1.0) / 3)
    assert found.overall == 5 / 11


def test_a_run_of_unknown_subsets_alone_has_no_score_but_an_overall_accuracy() -> None:
    found = report(pairs("somebodys_own", 3, 4))
    assert (found.score, found.overall) == (None, 0.75)


def test_the_bootstrap_draws_from_what_the_score_is_made_of() -> None:
    strata = RewardBench().strata(fsfairx())
    assert bootstrap.score(strata) == pytest.approx(report(fsfairx()).score)
    found = bootstrap.interval(strata, seed=0)
    assert found is not None
    assert found.low < 0.8338 < found.high < found.low + 0.03


def row(subset: str, chosen: object, rejected: object, **more: object) -> dict[str, Any]:
    sides = {"chosen": str(chosen), "rejected": str(rejected)}
    return {"id": 7, "prompt": "Hi", "subset": subset} | sides | more


def test_rows_are_read_in_their_published_columns(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [row("hep-go", 2, 1), row("hep-go", 1, 2)])
    done = evaluate("auto", path, [contender("fake", Numbers())], resamples=10)
    assert done.suite == "rewardbench"
    assert done.models[0].report.columns["Reasoning"] == 0.5


def test_llmbars_files_are_chat_hards_subsets_and_a_rows_own_subset_is_never_overruled(
    tmp_path: Path,
) -> None:
    bar = {"input": "Hi", "output_1": "1 a", "output_2": "2 b", "label": 2}
    path = tmp_path / "Adversarial" / "GPTOut" / "dataset.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([bar, bar | {"label": 1}]))
    write_lines(tmp_path / "natural.jsonl", [row("alpacaeval-easy", 2, 1)])
    [model] = evaluate("rewardbench", tmp_path, [contender("f", Numbers())], resamples=10).models
    assert [(line.subset, line.score) for line in model.report.lines] == [
        ("alpacaeval-easy", 1.0),
        ("llmbar-adver-GPTOut", 0.5),
    ]


def test_prior_sets_are_named_by_their_file_and_join_the_score_with_half_a_weight(
    tmp_path: Path,
) -> None:
    prior = tmp_path / "prior"
    prior.mkdir()
    for name in ("shp", "pku_safer", "summarize"):
        write_lines(prior / f"{name}.jsonl", [row("askculinary", 2, 1)])
    path = write_lines(tmp_path / "a.jsonl", [row("donotanswer", 1, 2)])
    suite = RewardBench(prior=[str(prior)])
    [model] = evaluate(suite, path, [contender("fake", Numbers())], resamples=10).models
    assert [line.subset for line in model.report.lines] == ["donotanswer", "shp", "summarize"]
    assert model.report.score == pytest.approx((2 * 0 + 1) / 3)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (row("hep-go", 2, 1) | {"subset": None}, "`subset`.* is missing"),
        ({"prompt": "Hi", "rejected": "1", "subset": "hep-go"}, "no format fits"),
        (row("hep-go", 2, 1) | {"chosen": ["2"]}, r"RewardBench 2 \(suite `rewardbench2`\)"),
    ],
)
def test_a_row_that_is_no_pair_is_refused(
    tmp_path: Path, bad: dict[str, Any], complaint: str
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [row("hep-go", 2, 1), bad])
    [refused] = evaluate("rewardbench", path, [contender("f", Numbers())], resamples=10).refused
    with pytest.raises(InvalidInput, match=complaint):
        raise refused.error
