"""Rows of a suite's data, from files and from the hub, each with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.groups import write_lines

from cluster.data.jsonl import BrokenRow, Row
from cluster.errors import InvalidInput
from cluster.evaluation.dataset import data_digest, read, split_sources, stem
from cluster.evaluation.suites.rewardbench import RewardBench
from cluster.evaluation.types import SourcedRow

ROW = {"prompt": "Hi", "chosen": "Hello!", "rejected": "No.", "subset": "hep-go"}


def places(source: Path | str) -> list[tuple[str, int]]:
    return [(one.source, one.row.number) for one in read(str(source))]


def test_rows_are_numbered_in_their_file_and_named_by_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write_lines(tmp_path / "a.jsonl", [ROW, "", ROW])
    write_lines(tmp_path / "b" / "c.jsonl", [ROW, "{oops"])
    assert places(tmp_path) == [("a.jsonl", 1), ("a.jsonl", 3), ("b/c.jsonl", 1), ("b/c.jsonl", 2)]
    assert places(tmp_path / "b" / "c.jsonl") == [("c.jsonl", 1), ("c.jsonl", 2)]
    assert places(tmp_path / "*.jsonl") == [("a.jsonl", 1), ("a.jsonl", 3)]
    assert isinstance(list(read(str(tmp_path)))[-1].row, BrokenRow)


def test_parquet_is_read_as_jsonl_is(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist([ROW, ROW]), tmp_path / "a.parquet")
    write_lines(tmp_path / "a.jsonl", [ROW, ROW])
    table, text = ([one.row for one in read(str(tmp_path / n))] for n in ("a.parquet", "a.jsonl"))
    assert table == text


def test_other_data_has_another_digest(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [ROW])
    before = data_digest([str(path)])
    assert data_digest([str(path)]) == before
    write_lines(path, [ROW, ROW])
    assert data_digest([str(path)]) != before


def test_a_source_that_is_nowhere_is_refused() -> None:
    with pytest.raises(InvalidInput, match="there is no file"):
        list(read("nowhere.jsonl"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[dict[str, Any]]]], None]:
    """Make `datasets` answer any name with these splits."""

    def answer(splits: dict[str, list[dict[str, Any]]]) -> None:
        import datasets

        def load(name: str, split: str, streaming: bool) -> Any:
            return datasets.Dataset.from_list(splits[split])

        monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name: list(splits))
        monkeypatch.setattr(datasets, "load_dataset", load)

    return answer


def test_of_rewardbench_on_the_hub_only_the_filtered_split_is_read(hub: Any) -> None:
    hub({"raw": [ROW, ROW], "filtered": [ROW]})
    name = "allenai/reward-bench:filtered"
    assert list(read("allenai/reward-bench")) == [SourcedRow(name, name, Row(1, ROW))]
    assert places("allenai/reward-bench:raw") == [("allenai/reward-bench:raw", i) for i in (1, 2)]


def test_of_another_data_set_on_the_hub_every_split_is_read(hub: Any) -> None:
    hub({"claude": [ROW], "gpt": [ROW]})
    assert split_sources("ScalerLab/JudgeBench") == [
        "ScalerLab/JudgeBench:claude",
        "ScalerLab/JudgeBench:gpt",
    ]
    assert [stem(one) for one in read("ScalerLab/JudgeBench")] == ["claude", "gpt"]


def test_of_prior_sets_on_the_hub_every_split_that_counts_is_read(hub: Any) -> None:
    hub({"shp": [ROW], "pku_better": [ROW], "summarize": [ROW]})
    rows = RewardBench(prior=["allenai/preference-test-sets"]).rows([])
    subsets = [one.row.value["subset"] for one in rows if isinstance(one.row, Row)]
    assert subsets == ["shp", "summarize"]


def test_a_name_that_the_hub_cannot_give_is_refused() -> None:
    with pytest.raises(InvalidInput, match="neither a file here nor a hub data set"):
        list(read("nobody/reward-bench"))
