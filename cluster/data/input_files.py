"""Input files: a path, folder, glob, URL that pyarrow opens, or hub data set.

Knows names, sizes and times of files and how to open them; nothing of what is in them.
"""

from __future__ import annotations

import glob
import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from cluster.data.hub import unreachable
from cluster.errors import ConfigError, InvalidInput

STDIN = "-"
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")
_HUB = re.compile(r"(?:hf://(?:datasets/)?)?([\w.-]+/[\w.-]+)(?::([\w.\[\]%:-]+))?")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file. stamp: its size and modification time; a different stamp means different data."""

    name: str
    stamp: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A split of a data set on the Hugging Face hub."""

    name: str
    split: str

    def stream(self) -> Any:
        """Its rows as dictionaries, fetched as they are read. Raises InvalidInput, ConfigError."""
        return self._ask_hub(
            f"{self.name}:{self.split}",
            lambda hub: hub.load_dataset(self.name, split=self.split, streaming=True),
        )

    def splits(self) -> list[str]:
        """The names of all its data set's splits. Raises InvalidInput, ConfigError."""
        return list(self._ask_hub(self.name, lambda hub: hub.get_dataset_split_names(self.name)))

    def _ask_hub(self, place: str, ask: Callable[[Any], Any]) -> Any:
        """The answer of `ask`, which gets the library `datasets`."""
        try:
            import datasets
        except ImportError:
            raise ConfigError("hub data sets need: pip install 'reward-cluster[data]'") from None
        offline = datasets.config.HF_HUB_OFFLINE  # then `datasets` asks nobody, and says so
        if problem := "" if offline else unreachable(self.name, kind="dataset"):
            raise InvalidInput(f"{place} is not a file here, and {problem}")
        try:
            return ask(datasets)
        except Exception as error:  # of the hub, the network or the data set's files: many kinds
            raise InvalidInput(
                f"{place} is neither a file here nor a hub data set that can be read: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class InputFiles:
    """What a source names: files in order, or one hub data set."""

    files: Sequence[InputFile] = ()
    hub: HubDataset | None = None

    @property
    def digest(self) -> str:
        """Digest of names, sizes and times; a different one means different data."""
        seen = "".join(f"{one.name} {one.stamp}\n" for one in self.files) or repr(self.hub)
        return hashlib.sha256(seen.encode()).hexdigest()[:16]


def find_input(source: str | Path) -> InputFiles:
    """The files of `source`; of a folder all data files at any depth that are not hidden.

    source: a file, `-` for standard input, a folder, a glob, a URL (file://, s3://, gs://,
    hdfs://), or the name of a hub data set (org/name or org/name:split; split `train` by default).
    Raises InvalidInput where there is none.
    """
    text = str(source)
    if text == STDIN:
        return InputFiles(
            [InputFile("standard input", "", lambda: cast(BinaryIO, sys.stdin.buffer))]
        )
    if "://" in text and not text.startswith("hf://"):
        return InputFiles(_of_url(text))
    if (files := _local(text)) is not None:
        return InputFiles(files)
    if named := _HUB.fullmatch(text):
        return InputFiles(hub=HubDataset(named[1], named[2] or "train"))
    raise InvalidInput(f"there is no file {text!r}; give a file, folder, glob, URL or hub data set")


def _local(source: str) -> list[InputFile] | None:
    """The local file or files that `source` names; None if it names nothing on this machine."""
    path = Path(source)
    if path.is_dir():
        paths = [one for one in path.rglob("*") if one.is_file() and _is_data(one, path)]
        if not paths:
            raise InvalidInput(
                f"{source} has no data file; data files end in {', '.join(SUFFIXES)}"
            )
    elif path.exists():
        paths = [path]
    else:
        paths = [Path(one) for one in glob.glob(source, recursive=True) if Path(one).is_file()]
        if not paths:
            return None
    return [_local_file(one) for one in sorted(paths)]


def _local_file(path: Path) -> InputFile:
    stat = path.stat()
    return InputFile(str(path), f"{stat.st_size} {stat.st_mtime_ns}", lambda: path.open("rb"))


def _is_data(path: Path, root: Path) -> bool:
    """Whether its name is that of a data file, and not hidden, as unfinished files are."""
    inside = path.relative_to(root).parts
    return path.name.endswith(SUFFIXES) and not any(part[0] in "._" for part in inside)


def _of_url(url: str) -> list[InputFile]:
    try:
        from pyarrow import ArrowInvalid, fs
    except ImportError:
        raise ConfigError("URLs need: pip install 'reward-cluster[data]'") from None
    try:
        filesystem, root = fs.FileSystem.from_uri(url)
        [info] = filesystem.get_file_info([root])
        found = [info]
        if info.type == fs.FileType.Directory:
            below = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
            found = [one for one in below if _is_data(Path(one.path), Path(root))]
    except (ArrowInvalid, OSError) as error:
        raise InvalidInput(f"{url} cannot be opened: {error}") from error
    files = sorted((one for one in found if one.type == fs.FileType.File), key=lambda one: one.path)
    if not files:
        raise InvalidInput(f"{url} has no data file; data files end in {', '.join(SUFFIXES)}")
    return [_remote_file(filesystem, one) for one in files]


def _remote_file(filesystem: Any, info: Any) -> InputFile:
    return InputFile(
        info.path, f"{info.size} {info.mtime_ns}", lambda: filesystem.open_input_file(info.path)
    )
