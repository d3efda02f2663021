"""Tokenized pairs on disk, memory-mapped: written by one process, read by all of a run.

Invariant: what is read is what was written, in order. A row of the table says where the ids of a
pair lie in the one file of all ids; a process holds neither, so that the size of a data set is
bounded by the disk. Knows nothing of where pairs come from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from cluster.rlhf.training.pairs import Pair
from cluster.types import Encoding

_SIDE = [("length", "i4"), ("prompt_len", "i4"), ("n_bos", "i2"), ("truncated", "?")]
_ROW = np.dtype(
    [
        ("start", "i8"),
        ("chosen", _SIDE),
        ("rejected", _SIDE),
        ("margin", "f8"),
        ("kind", "i4"),
        ("prompt", "S32"),  # digest of `Pair.prompt_key`, which is all that it is needed for
    ]
)
_IDS, _TABLE, _KINDS = "ids.i32", "pairs.table", "kinds.json"


def write_store(folder: Path, pairs: Iterable[Pair]) -> int:
    """Write `pairs` to `folder`, one at a time; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, int] = {}
    start = n = 0
    with (folder / _IDS).open("wb") as ids, (folder / _TABLE).open("wb") as table:
        for n, pair in enumerate(pairs, 1):  # noqa: B007  n is how many there were
            sides = pair.chosen, pair.rejected
            for side in sides:
                ids.write(np.ascontiguousarray(side.input_ids, np.int32).tobytes())
            kind = kinds.setdefault(pair.kind, len(kinds))
            prompt = hashlib.sha256(pair.prompt_key).hexdigest()[:32]
            row = (start, *map(_side, sides), pair.margin, kind, prompt)
            table.write(np.array(row, _ROW).tobytes())
            start += sum(side.n_tokens for side in sides)
    (folder / _KINDS).write_text(json.dumps(list(kinds)))
    return n


@dataclass(frozen=True, slots=True)
class PairStore(Sequence[Pair]):
    """The pairs `places` of a written folder. Their `prompt` is a digest, equal within a prompt."""

    ids: npt.NDArray[np.int32]
    table: npt.NDArray[Any]
    kinds: Sequence[str]
    places: npt.NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path) -> PairStore:
        """All pairs of `folder`."""
        kinds = json.loads((folder / _KINDS).read_text())
        if not (folder / _TABLE).stat().st_size:  # numpy maps no empty file
            empty = np.empty(0, _ROW), np.empty(0, np.int64)
            return cls(np.empty(0, np.int32), empty[0], kinds, empty[1])
        table = np.memmap(folder / _TABLE, _ROW, "r")
        ids = np.memmap(folder / _IDS, np.int32, "r")
        return cls(ids, table, kinds, np.arange(len(table)))

    @property
    def prompt_keys(self) -> list[bytes]:
        """`prompt_key` of each, without reading the pairs."""
        keys: list[bytes] = self.table["prompt"][self.places].tolist()
        return keys

    @property
    def n_truncated(self) -> int:
        """Pairs of which a side was cut to fit."""
        rows = self.table[self.places]
        return int((rows["chosen"]["truncated"] | rows["rejected"]["truncated"]).sum())

    def subset(self, index: Sequence[int]) -> PairStore:
        """Those at `index`, in its order."""
        chosen = self.places[np.asarray(index, np.int64)]
        return PairStore(self.ids, self.table, self.kinds, chosen)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> list[Pair]: ...
    def __getitem__(self, place: int | slice) -> Pair | list[Pair]:
        if isinstance(place, slice):
            return [self._pair(i) for i in self.places[place]]
        return self._pair(self.places[place])

    def _pair(self, i: np.int64) -> Pair:
        row = self.table[i]
        middle = row["start"] + row["chosen"]["length"]
        end = middle + row["rejected"]["length"]
        return Pair(
            _encoding(self.ids[row["start"] : middle], row["chosen"]),
            _encoding(self.ids[middle:end], row["rejected"]),
            float(row["margin"]),
            self.kinds[row["kind"]],
            row["prompt"].decode(),
        )


def _side(encoding: Encoding) -> tuple[int, int, int, bool]:
    return encoding.n_tokens, encoding.prompt_len, encoding.n_bos, encoding.truncated


def _encoding(ids: npt.NDArray[np.int32], side: Any) -> Encoding:
    return Encoding(
        np.asarray(ids), int(side["prompt_len"]), int(side["n_bos"]), bool(side["truncated"])
    )
