"""Rows of files and of the hub -> examples -> rewards, or the reason why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.groups import write_lines

from cluster.data.groups import Reject
from cluster.data.jsonl import BrokenRow
from cluster.errors import ConfigError, NotReady, RewardError, TooLong
from cluster.evaluation.rewardbench.dataset import Sourced, llmbar_subset, read
from cluster.evaluation.rewardbench.scoring import Version, examples, judge
from cluster.evaluation.rewardbench.types import ScoredExample
from cluster.types import Conversation, Score

ROW = {"id": 7, "prompt": "Hi", "chosen": "Hello!", "rejected": "No.", "subset": "alpacaeval-easy"}
BEST = {
    "id": "3",
    "prompt": "Hi",
    "chosen": ["Hello!"],
    "rejected": ["No.", "N", "Nope"],
    "num_correct": 1,
    "total_completions": 4,
    "subset": "Focus",
}


class Lengths:
    """Rewards are lengths of responses; a response "bad" is too long, "wait" not ready."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, conversations: Sequence[Conversation]) -> list[Score | RewardError]:
        self.calls.append(len(conversations))
        return [self.one(i, str(c[-1])) for i, c in enumerate(conversations)]

    def one(self, item: int, reply: str) -> Score | RewardError:
        if reply == "wait":
            return NotReady("no replica", item)
        if reply == "bad":
            return TooLong("9 tokens are more than 4", item)
        return Score(float(len(reply)), 1, 0, reply == "cut", 0.0, 0.0, "fake", "1", "fast")


def judged(path: Path, version: Version = 1, window: int = 1024) -> list[ScoredExample | Reject]:
    return list(judge(examples(read(str(path)), version), Lengths(), window))


def test_a_pair_is_judged_by_the_rewards_of_its_sides(tmp_path: Path) -> None:
    [one] = judged(write_lines(tmp_path / "a.jsonl", [ROW]))
    assert one == ScoredExample("a.jsonl", 1, "7", "alpacaeval-easy", (6.0,), (3.0,))


def test_a_best_of_n_is_judged_right_responses_first(tmp_path: Path) -> None:
    [one] = judged(write_lines(tmp_path / "a.jsonl", [BEST]), version=2)
    assert one == ScoredExample("a.jsonl", 1, "3", "Focus", (6.0,), (3.0, 1.0, 4.0))


def test_llmbars_label_says_which_output_is_right(tmp_path: Path) -> None:
    row = {"input": "Hi", "output_1": "a", "output_2": "bb", "label": 2}
    path = tmp_path / "Adversarial" / "GPTOut" / "dataset.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([row, row | {"label": 1}]))
    for source in (path, tmp_path):
        found = [
            (o.subset, o.right, o.wrong) for o in judged(source) if isinstance(o, ScoredExample)
        ]
        assert found == [
            ("llmbar-adver-GPTOut", (2.0,), (1.0,)),
            ("llmbar-adver-GPTOut", (1.0,), (2.0,)),
        ]


def test_llmbars_five_files_are_known_by_either_of_their_names() -> None:
    for ours, upstream, subset in (
        ("natural.json", "Natural/dataset.json", "llmbar-natural"),
        ("adversarial-neighbor.json", "Adversarial/Neighbor/dataset.json", "llmbar-adver-neighbor"),
        ("adversarial-gptinst.json", "Adversarial/GPTInst/dataset.json", "llmbar-adver-GPTInst"),
        ("adversarial-gptout.json", "Adversarial/GPTOut/dataset.json", "llmbar-adver-GPTOut"),
        ("adversarial-manual.json", "Adversarial/Manual/dataset.json", "llmbar-adver-manual"),
    ):
        assert llmbar_subset(Path("/data") / ours) == subset
        assert llmbar_subset(Path("/data") / upstream) == subset
    assert llmbar_subset(Path("/data/filtered.json")) is None


def test_the_name_of_a_file_never_overrules_a_rows_own_subset(tmp_path: Path) -> None:
    [one] = judged(write_lines(tmp_path / "natural.jsonl", [ROW]))
    assert isinstance(one, ScoredExample)
    assert one.subset == "alpacaeval-easy"


BROKEN: list[tuple[Version, Any, str]] = [
    (1, "{oops", "not JSON"),
    (1, {k: v for k, v in ROW.items() if k != "subset"}, "`subset`.* is missing"),
    (1, {k: v for k, v in ROW.items() if k != "chosen"}, "no format fits"),
    (1, ROW | {"chosen": None}, "`chosen` must be"),
    (1, ROW | {"rejected": "bad"}, "rejected: 9 tokens are more than 4"),
    (1, BEST, "give --version 2"),
    (1, {"messages": [], "subset": "x"}, "`prompt`, `chosen` and `rejected`"),
    (1, {"prompt": "Hi", "responses": ["a", "b"], "subset": "x"}, "`chosen` and `rejected`"),
    (2, ROW, "give --version 1"),
    (2, BEST | {"rejected": []}, "`rejected` must be a list of at least one"),
    (2, BEST | {"rejected": ["a", "bad", "b"]}, r"rejected\[1\]: 9 tokens"),
    (2, BEST | {"chosen": [5]}, "must be .* not int"),
    (2, BEST | {"num_correct": 2}, "`num_correct` is 2, but there are 1"),
    (2, BEST | {"total_completions": 5}, "`total_completions` is 5, but there are 4"),
    (2, {k: v for k, v in BEST.items() if k != "prompt"}, "`prompt` is missing"),
    (2, BEST | {"subset": "Ties"}, "`ref:N` or `tied:N`"),
]


@pytest.mark.parametrize(("version", "row", "complaint"), BROKEN)
def test_a_broken_row_is_rejected_with_its_line_and_costs_the_others_nothing(
    tmp_path: Path, version: Version, row: Any, complaint: str
) -> None:
    good = ROW if version == 1 else BEST
    path = write_lines(tmp_path / "a.jsonl", [good, row, good])
    first, bad, last = judged(path, version)
    assert isinstance(first, ScoredExample)
    assert isinstance(last, ScoredExample)
    assert isinstance(bad, Reject)
    assert bad.number == 2
    with pytest.raises(RewardError, match=rf"a\.jsonl: .*{complaint}"):
        raise bad.error


def test_an_error_that_may_pass_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(NotReady):
        judged(write_lines(tmp_path / "a.jsonl", [ROW | {"chosen": "wait"}]))


def test_a_response_without_its_start_marks_the_example(tmp_path: Path) -> None:
    [one] = judged(write_lines(tmp_path / "a.jsonl", [ROW | {"chosen": "cut"}]))
    assert isinstance(one, ScoredExample)
    assert one.truncated


@pytest.mark.parametrize("window", [1, 4, 5, 1024])
def test_windows_change_neither_order_nor_rewards(tmp_path: Path, window: int) -> None:
    rows = [ROW | {"id": i, "chosen": "x" * i} for i in range(1, 9)]
    path = write_lines(tmp_path / "a.jsonl", [*rows[:3], "{", *rows[3:]])
    assert list(map(repr, judged(path, window=window))) == list(map(repr, judged(path)))


def test_parquet_is_read_as_jsonl_is(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for row in (ROW, BEST):
        parquet.write_table(pa.Table.from_pylist([row, row]), tmp_path / "a.parquet")
        write_lines(tmp_path / "a.jsonl", [row, row])
        table, text = (
            [s.row for s in read(str(tmp_path / name))] for name in ("a.parquet", "a.jsonl")
        )
        assert table == text


def test_prior_sets_are_named_by_their_file_whatever_their_own_column_says(tmp_path: Path) -> None:
    row = ROW | {"prompt": [{"role": "user", "content": "Hi"}], "subset": "askculinary"}
    for name in ("shp", "pku_safer", "summarize"):
        write_lines(tmp_path / f"{name}.jsonl", [row, "{oops"])
    found = [
        "broken" if isinstance(s.row, BrokenRow) else s.row.value["subset"]
        for s in read(str(tmp_path), prior=True)
    ]
    assert found == ["shp", "broken", "summarize", "broken"]


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no \.jsonl"):
        list(read(str(tmp_path)))


def test_a_name_that_the_hub_cannot_give_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="could not be had from the hub"):
        list(read("nobody/reward-bench"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[dict[str, Any]]]], None]:
    """Make `datasets` answer any name with these splits."""

    def answer(splits: dict[str, list[dict[str, Any]]]) -> None:
        import datasets

        made = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
        monkeypatch.setattr(datasets, "load_dataset", lambda _: datasets.DatasetDict(made))

    return answer


def test_of_rewardbench_1_on_the_hub_only_the_filtered_split_is_read(hub: Any) -> None:
    hub({"raw": [ROW, ROW], "filtered": [ROW]})
    [one] = read("allenai/reward-bench")
    assert one.source == "allenai/reward-bench/filtered"
    assert isinstance(one, Sourced)
    assert not isinstance(one.row, BrokenRow)
    assert one.row.value == ROW


def test_of_prior_sets_on_the_hub_every_split_that_counts_is_read(hub: Any) -> None:
    hub({"shp": [ROW], "pku_better": [ROW], "summarize": [ROW]})
    found = [
        s.row.value["subset"]
        for s in read("allenai/preference-test-sets", prior=True)
        if not isinstance(s.row, BrokenRow)
    ]
    assert found == ["shp", "summarize"]
