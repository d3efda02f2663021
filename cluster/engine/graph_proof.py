"""Proof at load that CUDA graphs give the bits of the forward that they record.

Graphs are recorded one row count after another, and a trial batch runs through each. Where its bits
differ, or the model cannot be recorded, it runs without graphs, with one warning.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from cluster.engine.batch import Batch
from cluster.engine.batch_invariance import candidate_sizes, pad_rows
from cluster.engine.forward_graph import CudaRecorder, ForwardGraph, Recorder, Unrecorded
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.engine.packing_proof import MIN_SHARED_TOKENS, trial_chats
from cluster.errors import ModelRefused

log = logging.getLogger(__name__)


def use_graphs(model: PackedRewardModel, max_rows: int, max_tokens: int) -> None:
    """Record `model` for row counts up to `max_rows`; on a CPU, which has no graphs, nothing."""
    sizes = graph_sizes(model, max_rows)
    if not sizes or model.device.type != "cuda":
        return
    make: Any = torch.cuda.Stream
    stream = make(model.device)  # the default stream cannot be recorded
    stream.wait_stream(torch.cuda.current_stream(model.device))
    with torch.cuda.device(model.device), torch.cuda.stream(stream):
        record(model, sizes, max_tokens, CudaRecorder())
    torch.cuda.current_stream(model.device).wait_stream(stream)


def graph_sizes(model: PackedRewardModel, max_rows: int) -> tuple[int, ...]:
    """Row counts to record up to `max_rows`; none where a forward is not filled up to one."""
    if model.numerics == "invariant":
        return tuple(size for size in model.row_sizes if size <= max_rows)
    if model.numerics == "reference":
        return ()
    return tuple(size for size in candidate_sizes("cuda", max_rows) if size <= max_rows)


@torch.inference_mode()
def record(
    model: PackedRewardModel, sizes: Sequence[int], max_tokens: int, recorder: Recorder
) -> None:
    """Give `model` a graph for each of `sizes`, or none at all."""
    chats = trial_chats(model.module.config, max_tokens)
    trial = pack(chats, model.numerics, MIN_SHARED_TOKENS)
    graphs: dict[int, ForwardGraph] = {}
    try:
        for size in sorted(sizes, reverse=True):  # the others compute in the largest one's memory
            graphs[size] = _proven(model, pad_rows(trial, (size,)), recorder)
    except Exception as error:
        model.graphs = {}
        log.warning(
            "%s runs without CUDA graphs: %s: %s",
            type(model.module).__name__,
            type(error).__name__,
            error,
        )
        return
    model.graphs = graphs
    log.info("%s: recorded for %s rows", type(model.module).__name__, sorted(graphs))


def _proven(model: PackedRewardModel, batch: Batch, recorder: Recorder) -> ForwardGraph:
    """A graph for the rows of `batch`. Raises whatever recording raises, and ModelRefused if
    `batch` has other bits in it."""
    n_rows = batch.n_unique_tokens
    model.graphs = {}
    expected_ND = model.pooled(batch)
    ForwardGraph(n_rows, model.device).record(model.hidden, Unrecorded())
    graph = ForwardGraph(n_rows, model.device)
    graph.record(model.hidden, recorder)
    model.graphs = {n_rows: graph}
    if not torch.equal(model.pooled(batch), expected_ND):
        raise ModelRefused(f"{n_rows} rows have other bits in a graph")
    return graph
