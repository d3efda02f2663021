"""Suite data: rows of files, folders, globs, URLs and hub data sets, each with its place.

Rows are numbered within their file. If a hub data set is named without a split, every split is
read, or only `filtered` if there is one, as RewardBench 1 intends. Knows nothing of columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster.data.input_files import find_input
from cluster.data.reader import read_files
from cluster.evaluation.types import SourcedRow


def read(source: str) -> Iterator[SourcedRow]:
    """The rows of `source`, in order. Raises InvalidInput where it is not there."""
    for part in split_sources(source):
        for path, row in read_files(part):
            yield SourcedRow(_short(path, source), path, row)


def split_sources(source: str) -> list[str]:
    """`source`; for a hub data set without a split, one source per split."""
    hub = find_input(source).hub
    if hub is None or ":" in source.removeprefix("hf://"):
        return [source]
    splits = hub.splits()
    return [f"{hub.name}:{name}" for name in (["filtered"] if "filtered" in splits else splits)]


def data_digest(sources: Sequence[str]) -> str:
    """Digest of the data's names, sizes and times; a different one means different data."""
    parts = [find_input(part).digest for source in sources for part in split_sources(source)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def stem(sourced: SourcedRow) -> str:
    """The bare name of the row's file, or of its split on the hub."""
    return Path(sourced.path).name.rpartition(":")[2].split(".")[0]


def _short(path: str, source: str) -> str:
    """Within a folder the name below it, else the file's own name; of the hub all of it."""
    if Path(source).is_dir():
        return str(Path(path).relative_to(source))
    return Path(path).name if Path(path).exists() or "://" in source else path
