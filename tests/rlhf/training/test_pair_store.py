"""Tokenized pairs on disk: what is read is what was written."""

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cluster.rlhf.training.pair_store import PairStore, write_store
from cluster.rlhf.training.pairs import Pair, steps
from cluster.types import Encoding

ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    def side() -> Encoding:
        found = np.array(draw(ids), np.int32)
        split = draw(st.integers(0, len(found)))
        return Encoding(found, split, draw(st.integers(0, 1)), draw(st.booleans()))

    margin = draw(st.floats(-5, 5))
    kind, prompt = draw(st.sampled_from(["", "math", "chat é"])), draw(st.text(max_size=3))
    return Pair(side(), side(), margin, kind, prompt)


def fields(pair: Pair) -> list[Any]:
    sides = (pair.chosen, pair.rejected)
    told = [(s.input_ids.tolist(), s.prompt_len, s.n_bos, s.truncated) for s in sides]
    return [*told, pair.margin, pair.kind]


@given(st.lists(pairs(), max_size=8), st.data())
def test_what_is_read_is_what_was_written(
    tmp_path_factory: Any, written: list[Pair], data: st.DataObject
) -> None:
    folder: Path = tmp_path_factory.mktemp("store")
    assert write_store(folder, written) == len(written)
    store = PairStore.open(folder)
    assert list(map(fields, store)) == list(map(fields, written))
    groups = {key: pair.prompt_key for key, pair in zip(store.prompt_keys, written, strict=True)}
    assert len(groups) == len({pair.prompt_key for pair in written})
    cut = sum(pair.chosen.truncated or pair.rejected.truncated for pair in written)
    assert store.n_truncated == cut
    chosen = data.draw(st.lists(st.integers(0, max(0, len(written) - 1)), max_size=4))
    some = chosen if written else []
    assert list(map(fields, store.subset(some))) == [fields(written[i]) for i in some]


@given(st.lists(pairs(), min_size=1, max_size=8), st.integers(0, 3))
def test_the_order_of_steps_is_that_of_the_pairs_themselves(
    tmp_path_factory: Any, written: list[Pair], seed: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("store")
    write_store(folder, written)
    found = steps(PairStore.open(folder), 3, 2, seed)
    expected = steps(written, 3, 2, seed)
    for one, other in zip(found, expected, strict=True):
        assert list(map(fields, one)) == list(map(fields, other))
