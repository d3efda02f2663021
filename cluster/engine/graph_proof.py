"""Proof at load that CUDA graphs give the bits of the forward that they record.

Graphs are recorded one row count after another, and a trial batch runs through each. Where its bits
differ, or the model cannot be recorded, it runs without graphs, with one warning.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from cluster.engine.batch_invariance import candidate_sizes, pad_rows
from cluster.engine.forward_graph import CudaRecorder, ForwardGraph, Recorder
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.engine.packing_proof import MIN_SHARED_TOKENS, trial_chats

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
    for size in sorted(sizes, reverse=True):  # the largest first: the others fit into its memory
        batch = pad_rows(trial, (size,))
        model.graphs = {}
        expected_ND = model.pooled(batch)  # whatever is done once, is done before recording
        graph = ForwardGraph(size, model.device)
        try:
            graph.record(model.hidden, recorder)
        except Exception as error:
            _warn(model, f"it cannot be recorded: {type(error).__name__}: {error}")
            return
        model.graphs = {size: graph}
        if not torch.equal(model.pooled(batch), expected_ND):
            model.graphs = {}
            _warn(model, f"{size} rows have other bits in a graph")
            return
        graphs[size] = graph
    model.graphs = graphs
    log.info("%s: recorded for %s rows", type(model.module).__name__, sorted(graphs))


def _warn(model: PackedRewardModel, reason: str) -> None:
    log.warning("%s runs without CUDA graphs: %s", type(model.module).__name__, reason)
