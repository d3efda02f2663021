"""Safetensors files: their header, and a fingerprint of their weights. Reads no whole file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

WHOLE_BYTES = 2**24
"""A file of at most this is read whole."""
SAMPLES = 8
"""Of each tensor of a larger one, evenly spread from its first byte to its last."""
SAMPLE_BYTES = 4096
LENGTH_BYTES = 8
"""Of the header's length, little endian, with which a file begins."""


def tensors(path: Path) -> dict[str, Any]:
    """dtype, shape and data_offsets of each tensor, by name; see the format's own page."""
    with path.open("rb") as file:
        return _tensors(_header(file))


def n_values(path: Path) -> int:
    """Values in all tensors."""
    return sum(math.prod(tensor["shape"]) for tensor in tensors(path).values())


def fingerprint(paths: Iterable[Path]) -> str:
    """12 hex digits of the files' names and sizes, and of their content as far as it is read.

    Training changes all of a tensor that it changes, so parts of each tell two checkpoints apart
    in a fraction of the time that whole files of many GB take.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        for part in _parts(path):
            digest.update(part)
    return digest.hexdigest()[:12]


def _parts(path: Path) -> Iterator[bytes]:
    """All of a small file, or of another format; else the header and samples of each tensor."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE_BYTES or path.suffix != ".safetensors":
            yield file.read()
            return
        header = _header(file)
        yield header
        data = file.tell()
        for tensor in _tensors(header).values():
            begin, end = tensor["data_offsets"]
            room = max(0, end - SAMPLE_BYTES - begin)
            for offset in sorted({begin + room * i // (SAMPLES - 1) for i in range(SAMPLES)}):
                file.seek(data + offset)
                yield file.read(min(SAMPLE_BYTES, end - offset))


def _header(file: BinaryIO) -> bytes:
    return file.read(int.from_bytes(file.read(LENGTH_BYTES), "little"))


def _tensors(header: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(header)
    found.pop("__metadata__", None)
    return found
