from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.serving.scoring import windows as module
from cluster.serving.scoring.windows import size, windows


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 7), st.integers(1, 40))
def test_windows_hold_every_item_once_in_order_within_the_limits(
    lengths: list[int], items: int, chars: int
) -> None:
    piece = {10 * i: "x" * n for i, n in enumerate(lengths)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WINDOW_ITEMS", items)
        patch.setattr(module, "WINDOW_CHARS", chars)
        cut = list(windows(piece))
    assert [pair for window in cut for pair in window.items()] == list(piece.items())
    assert all(len(window) <= items for window in cut)
    sizes = [sum(map(len, window.values())) for window in cut]
    assert all(n <= chars or len(window) == 1 for n, window in zip(sizes, cut, strict=True))


def test_text_in_parts_counts_as_text() -> None:
    parts = [{"type": "text", "text": "x" * 1000}] * 3
    assert size([{"role": "user", "content": parts}]) >= 3000
    assert size(([{"role": "user", "content": "x" * 3000}], "y" * 500)) >= 3500
