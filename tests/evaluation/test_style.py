"""Accuracy against length and format, by hand."""

from __future__ import annotations

import pytest

from cluster.evaluation.style import markdown_share, style_report
from cluster.evaluation.types import Candidate, Item, Judged


def pair(better: str, worse: str, rewards: tuple[float, float]) -> Judged:
    candidates = (Candidate("chosen", better, better), Candidate("rejected", worse, worse))
    return Judged(Item("s", 1, "", "x", candidates, (1.0, 0.0), ((0, 1),)), rewards)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("Plain text.\n\nMore of it, 2. not a list.", 0.0),
        ("# Title\nText", 0.5),
        ("- a\n* b\n+ c\n1. d\n2) e\n> f\n| g |\n```\n~~~", 1.0),
        ("Some **bold** word", 1.0),
        ("2 * 3 = 6, -5 and #tag", 0.0),
    ],
)
def test_lines_of_markdown(text: str, share: float) -> None:
    assert markdown_share(text) == share


def test_accuracy_by_length_and_the_models_own_preference() -> None:
    found = style_report(
        [
            pair("x" * 30, "x" * 10, (2, 1)),  # longer, right
            pair("x" * 30, "x" * 10, (1, 2)),  # longer, wrong: prefers the shorter
            pair("x" * 10, "x" * 30, (1, 1)),  # shorter, a tie
            pair("x" * 10, "x" * 10, (2, 1)),  # equal, right
        ]
    )
    assert [(one.n, one.accuracy) for one in found.by_length] == [
        (1.0, 0.0),
        (0.0, None),
        (1.0, 1.0),
        (0.0, None),
        (2.0, 0.5),
    ]
    assert found.prefers_longer == pytest.approx((1 + 0 + 0.5) / 3)
    assert found.better_longer == pytest.approx(2 / 3)
    assert (found.prefers_markdown, found.better_markdown) == (None, None)


def test_accuracy_by_format() -> None:
    found = style_report(
        [pair("- a\n- b", "a\nb", (2, 1)), pair("a\nb", "- a\n- b", (1, 2)), pair("a", "b", (1, 2))]
    )
    assert [(one.label, one.n, one.accuracy) for one in found.by_format] == [
        ("less Markdown", 1.0, 0.0),
        ("alike", 1.0, 0.0),
        ("more Markdown", 1.0, 1.0),
    ]
    assert (found.prefers_markdown, found.better_markdown) == (1.0, 0.5)


def test_the_comparisons_of_an_item_weigh_one_together() -> None:
    texts = ("x" * 10, "x", "x" * 100)
    candidates = tuple(Candidate(str(i), text, text) for i, text in enumerate(texts))
    item = Item("s", 1, "", "x", candidates, (1.0, 0.0, 0.0), ((0, 1), (0, 2)))
    found = style_report([Judged(item, (1.0, 0.0, 2.0))])
    assert [one.n for one in found.by_length] == [0.5, 0.0, 0.0, 0.0, 0.5]
