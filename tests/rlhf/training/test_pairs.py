"""Pairs from files, their order, and their cut into forwards."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cluster.config import EngineConfig
from cluster.data.groups import Reject
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.packing import pack
from cluster.rlhf.training.pairs import Pair, forwards, n_steps, read_pairs, steps
from cluster.types import Encoding


def pair(prompt: int, chosen: int, rejected: int = 0) -> Pair:
    def side(last: int) -> Encoding:
        return Encoding(np.array([prompt] * 10 + [last] * 5, np.int32), 10)

    return Pair(side(chosen), side(rejected))


PAIRS = [pair(prompt, chosen) for prompt in range(7) for chosen in (1, 2, 3)]


def keys(found: list[Pair]) -> list[bytes]:
    return [p.chosen.input_ids.tobytes() for p in found]


def test_an_epoch_sees_every_pair_once() -> None:
    seen = [p for step in steps(PAIRS, 4, 1, 0) for p in step]
    assert sorted(keys(seen)) == sorted(keys(PAIRS))


def test_pairs_about_one_prompt_stay_neighbours_in_an_order_the_seed_decides() -> None:
    first = [p.prompt_key for step in steps(PAIRS, 4, 1, 0) for p in step]
    assert sum(a != b for a, b in pairwise(first)) == 6
    assert first == [p.prompt_key for step in steps(PAIRS, 4, 1, 0) for p in step]
    assert first != [p.prompt_key for step in steps(PAIRS, 4, 1, 1) for p in step]


@pytest.mark.parametrize(("size", "epochs"), [(4, 1), (21, 2), (100, 3)])
def test_the_number_of_steps_is_known_beforehand(size: int, epochs: int) -> None:
    assert len(list(steps(PAIRS, size, epochs, 0))) == n_steps(len(PAIRS), size, epochs)


@pytest.mark.parametrize("budget", [1, 20, 45, 1000])
def test_forwards_keep_the_order_and_the_budget(budget: int) -> None:
    runs = list(forwards(PAIRS, budget))
    assert [p for run in runs for p in run] == PAIRS
    for run in runs:
        unique = pack([s for p in run for s in (p.chosen, p.rejected)], "invariant")
        assert len(run) == 1 or unique.n_unique_tokens <= budget


def test_bad_rows_are_told_by_line_and_cost_no_other(
    tmp_path: Path, smallest_checkpoint: Path
) -> None:
    good = {"prompt": "Hi", "chosen": "Hello!", "rejected": "Go away.", "margin": 0.5}
    lines = [
        json.dumps(good),
        "{ not json",
        json.dumps({"prompt": "Hi", "chosen": "Hello!"}),
        json.dumps(good | {"rejected": "Hello!"}),
        json.dumps(good | {"margin": "wide"}),
        json.dumps(good | {"chosen": 3}),
        json.dumps({side: f"\n\nHuman: a\n\nAssistant: {side}" for side in ("chosen", "rejected")}),
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(lines))
    encoder = ChatEncoder.load(EngineConfig(model=str(smallest_checkpoint)))
    found = read_pairs(file, encoder)
    assert [p.margin for p in found if isinstance(p, Pair)] == [0.5, 0.0]
    bad = [row for row in found if isinstance(row, Reject)]
    assert [row.number for row in bad] == [2, 3, 4, 5, 6]
    assert all(row.error.message for row in bad)


def test_pairs_are_grouped_by_their_prompts_messages_where_no_id_shows_the_prompt(
    tmp_path: Path,
) -> None:
    rows = [
        {"prompt": f"Question {n}?", "chosen": f"yes {i}", "rejected": f"no {i}"}
        for n in range(8)
        for i in range(2)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = ChatEncoder.load(EngineConfig(model="tiny"))
    pairs = [p for p in read_pairs(path, encoder) if isinstance(p, Pair)]
    found = [replace(p, chosen=replace(p.chosen, prompt_len=0)) for p in pairs]
    assert len({p.prompt_key for p in found}) == 8
    order = [p.prompt_key for step in steps(found, 4, 1, 0) for p in step]
    assert sum(a != b for a, b in pairwise(order)) == 7
    assert order != [p.prompt_key for p in found]
