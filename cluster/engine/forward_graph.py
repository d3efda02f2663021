"""CUDA graphs for small forwards, which otherwise wait for the host to launch their kernels.

What lies between two layers' attentions follows from the row count alone. It is recorded once for
each of a few row counts and then launched as one graph (piecewise graphs, as in vLLM:
docs/design/cuda_graphs.md). Attention, whose shapes follow the batch, runs between the graphs as it
does without them. Works for any model that goes through `AttentionInterface` and whose host code
reads no value of the device.

A graph runs the kernels of the same forward without it; `graph_proof` tries at load that it gives
the same bits.

Shape legend: T rows, H query heads, K key/value heads, D head size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from cluster.engine.attention import AttentionFn, LayerAttention

Launch = Callable[[], None]
HiddenFn = Callable[[Tensor, Tensor, AttentionFn], Tensor]
"""(ids_T, positions_T, attend) -> hidden_TD: a forward."""


class Recorder(Protocol):
    """Records what is run on a device between `begin` and `end`, for launching it again."""

    def begin(self) -> None: ...

    def end(self) -> Launch: ...


@dataclass(frozen=True, slots=True)
class RecordedAttention:
    """One layer's attention: where its graph leaves the states, where the next one reads `out`."""

    query_HTD: Tensor
    key_KTD: Tensor
    value_KTD: Tensor
    layer: LayerAttention
    out_THD: Tensor


class ForwardGraph:
    """A forward of one row count: `launches[i]` ends at `attentions[i]`, the last at the hidden
    states.

    Holds the queries, keys and values of all layers, which no other graph can use: 12 KiB a row and
    layer for Llama-3-8B.
    """

    def __init__(self, n_rows: int, device: torch.device) -> None:
        self._ids_T, self._positions_T = torch.zeros(2, n_rows, dtype=torch.long, device=device)
        self._launches: list[Launch] = []
        self._attentions: list[RecordedAttention] = []
        self._hidden_TD: Tensor | None = None

    def __call__(self, ids_T: Tensor, positions_T: Tensor, attend: AttentionFn) -> Tensor:
        """The hidden states, valid until the next call."""
        assert self._hidden_TD is not None
        self._ids_T.copy_(ids_T)
        self._positions_T.copy_(positions_T)
        for launch, at in zip(self._launches, self._attentions, strict=False):
            launch()
            at.out_THD.copy_(attend(at.query_HTD, at.key_KTD, at.value_KTD, at.layer))
        self._launches[-1]()
        return self._hidden_TD

    def record(self, forward: HiddenFn, recorder: Recorder) -> None:
        """Record `forward`, whose kernels do not run meanwhile."""

        def attend(
            query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
        ) -> Tensor:
            self._launches.append(recorder.end())
            out_THD = self._out(query_HTD, value_KTD)
            at = RecordedAttention(query_HTD, key_KTD, value_KTD, layer, out_THD)
            self._attentions.append(at)
            recorder.begin()
            return out_THD

        recorder.begin()
        try:
            self._hidden_TD = forward(self._ids_T, self._positions_T, attend)
        except Exception:
            with contextlib.suppress(Exception):  # it only says again that recording has failed
                recorder.end()
            raise
        self._launches.append(recorder.end())

    def _out(self, query_HTD: Tensor, value_KTD: Tensor) -> Tensor:
        """Layers of one shape share it: the next graph has read it before it is written again."""
        heads, rows, _ = query_HTD.shape
        shape = rows, heads, value_KTD.shape[-1]
        for at in self._attentions:
            if at.out_THD.shape == shape and at.out_THD.dtype is value_KTD.dtype:
                return at.out_THD
        return value_KTD.new_empty(shape)


class Unrecorded:
    """Records nothing: what runs, runs at once. Whatever a forward does once, such as compiling its
    layers, it then does not do while it is recorded."""

    def begin(self) -> None:
        """Nothing begins."""

    def end(self) -> Launch:
        """Launches nothing."""
        return lambda: None


class CudaRecorder:
    """torch's CUDA graphs. All of a model share one pool of memory, as one runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._graph: Any = None

    def begin(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._graph.capture_begin(self._pool, capture_error_mode="thread_local")

    def end(self) -> Launch:
        self._graph.capture_end()
        launch: Launch = self._graph.replay
        return launch
