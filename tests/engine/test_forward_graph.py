"""CUDA graphs, emulated: recorded forwards give the bits of plain ones, or are not used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from support.mixes import encoding_mixes
from support.recording import EmulatedRecorder
from support.scoring import rewards
from support.varlen import MAX_ROWS, engine_as_on_gpu, install
from torch import Tensor

from cluster.config import EngineConfig
from cluster.engine.batch_invariance import candidate_sizes
from cluster.engine.engine import Engine
from cluster.engine.fused import fuse, unfuse
from cluster.engine.graph_proof import graph_sizes, record, use_graphs
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.types import Encoding, Numerics

SIZES = candidate_sizes("cuda", MAX_ROWS)
few = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def recorded(random_checkpoint: Path) -> Any:
    """For each numerics a plain engine, one with a graph for every forward, and the recorder of
    these. Both are filled up to the same rows."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        found = {}
        for numerics in ("invariant", "fast"):
            plain, graphed = (engine_as_on_gpu(random_checkpoint, numerics) for _ in range(2))
            plain.model.row_sizes = SIZES
            recorder = EmulatedRecorder()
            record(graphed.model, graph_sizes(graphed.model, MAX_ROWS), MAX_ROWS, recorder)
            assert tuple(sorted(graphed.model.graphs)) == SIZES
            found[numerics] = plain, graphed, recorder
        yield found


@few
@given(mix=encoding_mixes())
@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_random_trees_have_the_bits_of_a_forward_without_graphs(
    recorded: Any, numerics: str, mix: list[Encoding]
) -> None:
    plain, graphed, recorder = recorded[numerics]
    before = recorder.launched
    assert rewards(graphed, mix) == rewards(plain, mix)
    layers = plain.model.module.config.num_hidden_layers
    assert (recorder.launched - before) % (layers + 1) == 0
    assert recorder.launched > before


def test_a_kept_prompt_is_read_between_the_graphs(recorded: Any) -> None:
    plain, graphed, _ = recorded["invariant"]
    mix = responses_to_one_prompt()
    expected = [rewards(plain, [e])[0] for e in mix]
    hits = graphed.prompt_stats.hits
    assert [rewards(graphed, [e])[0] for e in mix] == expected
    assert graphed.prompt_stats.hits > hits


def responses_to_one_prompt() -> list[Encoding]:
    prompt = range(10, 60)
    return [Encoding(np.array([*prompt, i, 7], np.int32), len(prompt)) for i in range(4)]


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_more_rows_than_were_recorded_run_without_a_graph(
    random_checkpoint: Path, numerics: Numerics, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    engine, recorder = engine_as_on_gpu(random_checkpoint, numerics), EmulatedRecorder()
    record(engine.model, (256,), MAX_ROWS, recorder)
    before = recorder.launched
    long, short = (Encoding(np.arange(n, dtype=np.int32) % 250) for n in (257, 256))
    rewards(engine, [long])
    assert recorder.launched == before
    rewards(engine, [short])
    assert recorder.launched > before


def test_training_runs_no_graph(recorded: Any) -> None:
    _, graphed, recorder = recorded["fast"]
    before = recorder.launched
    weight = graphed.model.module.score.weight.requires_grad_(True)
    graphed.model(pack(responses_to_one_prompt(), "fast")).sum().backward()
    weight.requires_grad_(False)
    assert weight.grad is not None
    assert recorder.launched == before


def test_a_forward_whose_host_reads_a_value_runs_without_graphs(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch)
    model = engine_as_on_gpu(random_checkpoint, "invariant").model

    def reading(module: Any, args: Any, output: Tensor) -> Tensor:
        return output if float(output.sum()) < 1e30 else output * 2

    model.module.base_model.layers[1].mlp.register_forward_hook(reading)
    assert warned(model, caplog) == ["RuntimeError: operation not permitted"]


def test_a_forward_that_a_graph_freezes_runs_without_graphs(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the host decides is decided once, when it is recorded."""
    install(monkeypatch)
    model = engine_as_on_gpu(random_checkpoint, "invariant").model
    runs: list[int] = []

    def counting(module: Any, args: Any, output: Tensor) -> Tensor:
        runs.append(1)
        return output * len(runs)

    model.module.base_model.layers[1].mlp.register_forward_hook(counting)
    assert warned(model, caplog) == [f"ModelRefused: {MAX_ROWS} rows have other bits in a graph"]


class Watched:
    """A recorder that only counts. compiled: what `log` grew by in each part of a recording."""

    def __init__(self, log: list[Any]) -> None:
        self.compiled: list[int] = []
        self._log = log
        self._before = 0

    def begin(self) -> None:
        self._before = len(self._log)

    def end(self) -> Callable[[], None]:
        self.compiled.append(len(self._log) - self._before)
        return lambda: None


@pytest.mark.slow
def test_layers_are_compiled_before_they_are_recorded(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    model = engine_as_on_gpu(random_checkpoint, "fast").model
    compiled: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    torch.compiler.reset()  # what earlier tests compiled would not be compiled again
    fuse(model.module, backend)
    watched = Watched(compiled)
    record(model, (256,), MAX_ROWS, watched)
    unfuse(model.module)
    assert compiled
    assert watched.compiled == [0] * (model.module.config.num_hidden_layers + 1)


def test_an_engine_records_as_many_rows_as_its_config_says(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        "cluster.engine.engine.use_graphs", lambda model, rows, max_tokens: asked.append(rows)
    )
    Engine.load(EngineConfig(model=str(random_checkpoint), cuda_graph_rows=512))
    assert asked == [512]


def warned(model: PackedRewardModel, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The reasons of the warnings, shortened, of recording `model`, which has no graphs then."""
    with caplog.at_level(logging.WARNING):
        record(model, SIZES, MAX_ROWS, EmulatedRecorder())
    assert model.graphs == {}
    texts = (r.message for r in caplog.records if "without CUDA graphs: " in r.message)
    return [text.partition("graphs: ")[2].partition(" when ")[0] for text in texts]


def test_only_row_counts_in_use_are_recorded_and_none_on_a_cpu(recorded: Any) -> None:
    invariant, fast = (recorded[numerics][0].model for numerics in ("invariant", "fast"))
    assert graph_sizes(invariant, 1000) == (256, 512, 768)
    assert graph_sizes(fast, 255) == ()
    assert graph_sizes(fast, 300) == (256,)
    use_graphs(fast, 512, MAX_ROWS)
    assert fast.graphs == {}


def test_a_model_that_takes_to_its_own_forward_drops_its_graphs(random_checkpoint: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        model = engine_as_on_gpu(random_checkpoint, "fast").model
        record(model, (256,), MAX_ROWS, EmulatedRecorder())
    assert model.graphs
    model.use_own_forward("tried")
    assert model.graphs == {}
    assert graph_sizes(model, 512) == ()
