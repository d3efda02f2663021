"""Rows of the benchmark, from files here or from the hub.

A source is a .jsonl, .json (.gz too) or .parquet file, a folder of them, or a data set's name on
the hub. Rows keep their line, whatever the format. LLMBar's own files are known by their paths as
five subsets of Chat Hard. Knows the columns no further than `subset`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.data.input_files import SUFFIXES
from cluster.data.jsonl import BrokenRow, Row
from cluster.data.reader import read_rows
from cluster.errors import ConfigError
from cluster.evaluation.rewardbench.constants import DROPPED_PRIOR_SETS, LLMBAR


@dataclass(frozen=True, slots=True)
class Sourced:
    """A row and where it stood. llmbar: the subset that LLMBar's file of this name is, if any."""

    source: str
    row: Row | BrokenRow
    llmbar: str | None = None


def read(source: str, prior: bool = False) -> Iterator[Sourced]:
    """The rows of `source`.

    prior: it holds prior sets, whose own column `subset` means something else; as AI2 reads them,
    `subset` becomes the name of the split or file. Raises ConfigError for a source that is not
    there.
    """
    path = Path(source)
    if not path.exists():
        yield from _from_hub(source, prior)
        return
    for file in _files(path):
        stem = file.name.split(".")[0]
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        rows = read_rows(file)
        if prior:
            yield from _prior_rows(name, stem, rows)
        else:
            yield from (Sourced(name, row, llmbar_subset(file)) for row in rows)


def llmbar_subset(path: Path) -> str | None:
    """The subset that one of LLMBar's own files is, None for any other file.

    Upstream they are called Natural/dataset.json and Adversarial/<kind>/dataset.json.
    """
    place = "/".join(path.absolute().parts[-2:]).lower()
    return next((subset for part, subset in LLMBAR.items() if part in place), None)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES))
    if not files:
        raise ConfigError(f"the folder {path} has no {', '.join(SUFFIXES)} file")
    return files


def _prior_rows(source: str, subset: str, rows: Iterable[Row | BrokenRow]) -> Iterator[Sourced]:
    if subset in DROPPED_PRIOR_SETS:
        return
    for row in rows:
        named = (
            row
            if isinstance(row, BrokenRow)
            else replace(row, value=row.value | {"subset": subset})
        )
        yield Sourced(source, named)


def _from_hub(name: str, prior: bool) -> Iterator[Sourced]:
    splits = _splits(name)
    if not prior and "filtered" in splits:  # the other split has what was filtered out
        splits = {"filtered": splits["filtered"]}
    for split, values in splits.items():
        rows = (Row(number, value) for number, value in enumerate(values, 1))
        source = f"{name}/{split}"
        yield from _prior_rows(source, split, rows) if prior else (Sourced(source, r) for r in rows)


def _splits(name: str) -> dict[str, Any]:
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"{name} is no file here, and the hub needs `pip install 'reward-cluster[data]'`"
        ) from None
    try:
        splits: dict[str, Any] = datasets.load_dataset(name)
    except Exception as error:
        raise ConfigError(
            f"{name} is no file here and could not be had from the hub ({type(error).__name__}: "
            f"{error}); give a .jsonl, .json or .parquet file, or a folder of them"
        ) from error
    return splits
