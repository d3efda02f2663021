"""The page on architectures says what the engine does with them now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.architecture_matrix import THREADS, row, table_line
from support.architecture_variants import QUICK, VARIANTS

PAGE = Path(__file__).resolve().parents[2] / "ops" / "docs" / "pages" / "architectures.md"


@pytest.fixture(autouse=True)
def _threads_of_the_page() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


INNER_LOOP = ("llama", "qwen2", "mistral_window", "gemma2", "gpt_oss", "qwen3_next", "bert")
"""One of each way that a model is scored; the others take as long again."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in INNER_LOOP else pytest.mark.slow) for name in QUICK],
)
def test_an_architecture_is_scored_as_by_transformers_and_as_the_page_says(name: str) -> None:
    """Rewards and bits are checked within `row`."""
    assert table_line(row(name)) in PAGE.read_text().splitlines()


def test_the_page_has_every_variant() -> None:
    shown = re.findall(r"^\| (\w+) \| (?:\w|,|`| )+ \|", PAGE.read_text(), re.M)
    assert set(VARIANTS) <= set(shown)
