"""The explore page in a real browser. It asks the service nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("served")]
HOSTILE = "<img src=x onerror=alert(1)>"


def explore(page: Any, file: Path) -> str:
    """Opens `file`; what the page says of it."""
    page.get_by_role("tab", name="Explore").click()
    page.locator("#file").set_input_files(file)
    page.locator("#explore table, #explore .message:not(:empty)").first.wait_for()
    text: str = page.locator("#explore").inner_text()
    return text


def written(file: Path, rows: Iterable[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def group(i: int) -> dict[str, Any]:
    texts = [f"response {i}-{j} " + "x" * (i * j % 50) for j in range(4)]
    return {"prompt": f"p{i}", "responses": texts, "rewards": [i % 7 + j / 4 for j in range(4)]}


def test_a_file_of_100_000_rows_is_shown_from_all_sides(page: Any, tmp_path: Path) -> None:
    text = explore(page, written(tmp_path / "scored.jsonl", map(group, range(100_000))))
    assert "100,000 rows, 400,000 responses" in text
    assert "mean 3.375" in text  # of i % 7 = 3 less a little, and of j / 4 = 0.375
    assert "mean 0.750, of 100,000 prompts" in text
    assert page.locator("#explore canvas").count() == 3


def test_rows_of_two_models_show_where_they_disagree(page: Any, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "p",
            "responses": ["a", "b"],
            "rewards": [1.0, 0.0],
            "other_rewards": [2.0, 1.0],
        },
        {
            "prompt": "q",
            "responses": ["c", "d"],
            "rewards": [1.0, 0.0],
            "other_rewards": [1.0, 2.0],
        },
    ]
    text = explore(page, written(tmp_path / "two.jsonl", rows))
    assert "The same response is best in 50.0% of the prompts." in text
    first = page.locator("table", has_text="Where the two disagree most").locator("tbody tr").first
    assert first.locator(".response").text_content() in {"c", "d"}


def test_a_row_opens_in_compare(page: Any, tmp_path: Path) -> None:
    explore(page, written(tmp_path / "rows.jsonl", [group(3)]))
    page.get_by_role("button", name="Compare").first.click()
    assert page.get_by_label("Turn 1", exact=True).input_value() == "p3"
    assert page.locator(".responses textarea").count() == 4


def test_broken_lines_and_failed_rows_are_counted(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    failed = {"prompt": "p", "response": 5, "error": {"code": "invalid_input"}}
    file.write_text(f"{json.dumps(group(1))}\nno json\n{json.dumps(failed)}\n[1]\n")
    text = explore(page, file)
    assert "1 rows, 4 responses, 1 rows with an error, 2 lines without a reward" in text


def test_a_file_without_rewards_says_what_is_looked_for(page: Any, tmp_path: Path) -> None:
    file = written(tmp_path / "none.jsonl", [{"prompt": "p", "response": "r"}])
    assert "No row of this file has a reward" in explore(page, file)


def test_hostile_rows_stay_text(page: Any, tmp_path: Path) -> None:
    row = {"prompt": HOSTILE, "response": HOSTILE, "reward": 1.0, f"{HOSTILE}_score": 2.0}
    explore(page, written(tmp_path / "hostile.jsonl", [row]))
    assert HOSTILE in page.locator("#explore").inner_text()
    assert page.locator("main img").count() == 0


def test_a_phone_needs_no_scrolling_sideways(phone: Any, tmp_path: Path) -> None:
    explore(phone, written(tmp_path / "rows.jsonl", map(group, range(40))))
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
