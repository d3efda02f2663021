"""The files of a data set, wherever they are: a path, a folder, or a URL that pyarrow can open.

Knows names, sizes and times of files, nothing of what is in them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from cluster.errors import InvalidInput

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")


@dataclass(frozen=True, slots=True)
class Source:
    """paths: of the data files, sorted, as `filesystem` (pyarrow's) names them.

    digest: of their names, sizes and times of change; another one is other data.
    """

    filesystem: Any
    paths: tuple[str, ...]
    digest: str

    @property
    def is_parquet(self) -> bool:
        return self.paths[0].endswith(".parquet")


def find(source: str) -> Source:
    """The files of `source`, in a folder all that end as data files do, at any depth.

    A URL is pyarrow's: file://, s3://, gs://, hdfs://. Raises InvalidInput where there is no file,
    or where parquet and JSON files are mixed.
    """
    from pyarrow import fs

    filesystem, root = _opened(source)
    try:
        [info] = filesystem.get_file_info([root])
        found = [info]
        if info.type == fs.FileType.Directory:
            found = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
            found = [one for one in found if _is_data(one, root)]
    except OSError as error:
        raise InvalidInput(f"{source} cannot be looked at: {error}") from error
    files = sorted((one for one in found if one.type == fs.FileType.File), key=lambda one: one.path)
    if not files:
        raise InvalidInput(f"{source} has no file; give one, or a folder of {', '.join(SUFFIXES)}")
    if len({one.path.endswith(".parquet") for one in files}) > 1:
        raise InvalidInput(f"{source} mixes parquet and JSON files; give one kind at a time")
    seen = "".join(f"{one.path} {one.size} {one.mtime_ns}\n" for one in files)
    paths = tuple(one.path for one in files)
    return Source(filesystem, paths, hashlib.sha256(seen.encode()).hexdigest()[:16])


def _opened(source: str) -> tuple[Any, str]:
    from pyarrow import ArrowInvalid, fs

    if "://" not in source:
        return fs.LocalFileSystem(), source
    try:
        filesystem, root = fs.FileSystem.from_uri(source)
    except (ArrowInvalid, OSError) as error:
        raise InvalidInput(f"{source} cannot be opened: {error}") from error
    return filesystem, root


def _is_data(info: Any, root: str) -> bool:
    """Data by its name, and not hidden, as unfinished files are."""
    inside = info.path[len(root) :].strip("/").split("/")
    return info.path.endswith(SUFFIXES) and not any(part[0] in "._" for part in inside if part)
