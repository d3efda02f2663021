"""The engine benchmark measures those whom --only names, and says so if it names none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from click.testing import CliRunner

from cluster.bench.baselines import Baseline, Unit
from cluster.bench.engine import _pairs
from cluster.cli import main
from cluster.errors import ConfigError
from cluster.types import Encoding


def units(encodings: Sequence[Encoding]) -> Iterator[tuple[Unit, Sequence[Encoding]]]:
    yield lambda: None, encodings


PADDED = Baseline("padded batches", units)
PACKED = Baseline("engine, fast", units, streams=True)
VLLM = Baseline("vLLM", units, streams=True)


def test_only_chooses_by_a_part_of_the_name_and_leaves_out_no_extra_contender() -> None:
    every = _pairs([PADDED, PACKED], [VLLM], ["grouped", "streaming"], [])
    assert [(row.workload, row.contender) for row, _ in every] == [
        ("grouped", "padded batches"),
        ("grouped", "engine, fast"),
        ("grouped", "vLLM"),
        ("streaming", "engine, fast"),
        ("streaming", "vLLM"),
    ]
    assert [c for _, c in _pairs([PADDED, PACKED], [VLLM], ["grouped"], ["fast"])] == [PACKED, VLLM]


@pytest.mark.parametrize("only", ["nobody", "padded"])
def test_if_only_leaves_none_the_names_to_choose_from_are_told(only: str) -> None:
    message = f"no contender of streaming has '{only}' in its name; there are: engine, fast$"
    with pytest.raises(ConfigError, match=message):
        _pairs([PADDED, PACKED], [], ["streaming"], [only])


@pytest.mark.slow
def test_an_interpreter_that_is_not_there_ends_the_command_with_status_2() -> None:
    asked = ["bench", "engine", "--workload", "grouped", "--device", "cpu"]
    done = CliRunner().invoke(main, [*asked, "--vllm", "/no/python"])
    assert done.exit_code == 2
    assert "/no/python: No such file or directory [" in done.output
