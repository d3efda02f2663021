"""Arguments of a `varlen_attn` call: runs of queries, each with a context of keys.

Shape legend: T rows of the batch, C keys, H query heads, K key/value heads, D head size, Q queries
of the call.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cluster.engine.attention import LayerAttention

Run = tuple[int, int]


@dataclass(frozen=True, slots=True)
class VarlenCall:
    """Ready on the device, for every layer.

    queries_Q, context_C: which rows and keys, None for all in their order.
    bounds_q, bounds_k: int32, where each sequence starts.  longest_q, longest_k: of the sequences.
    """

    queries_Q: Tensor | None
    context_C: Tensor | None
    bounds_q: Tensor
    bounds_k: Tensor
    longest_q: int
    longest_k: int

    @classmethod
    def of(
        cls,
        queries: Sequence[Sequence[Run]],
        contexts: Sequence[Sequence[Run]],
        n_rows: int,
        n_keys: int,
        device: torch.device,
    ) -> VarlenCall:
        """Sequence i: the rows of `queries[i]` see the keys of `contexts[i]`."""
        lens_q, lens_k = _lengths(queries), _lengths(contexts)
        return cls(
            _index(queries, n_rows, device),
            _index(contexts, n_keys, device),
            _bounds(lens_q, device),
            _bounds(lens_k, device),
            max(lens_q),
            max(lens_k),
        )

    def __call__(
        self,
        query_THD: Tensor,
        key_CKD: Tensor,
        value_CKD: Tensor,
        layer: LayerAttention,
        causal: bool,
        lse: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """out_QHD and, if asked for, its log-sum-exp lse_QH."""
        from torch.nn.attention.varlen import AuxRequest, varlen_attn

        options = _options()
        query, (key, value) = query_THD, (key_CKD, value_CKD)
        if self.queries_Q is not None:
            query = query.index_select(0, self.queries_Q)
        if self.context_C is not None:
            key, value = (x.index_select(0, self.context_C) for x in (key, value))
        if "enable_gqa" not in options and query.shape[1] != key.shape[1]:
            groups = query.shape[1] // key.shape[1]
            key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
        left = -1 if layer.window is None else layer.window - 1
        found = varlen_attn(
            query.contiguous(),
            key.contiguous(),
            value.contiguous(),
            self.bounds_q,
            self.bounds_k,
            self.longest_q,
            self.longest_k,
            scale=layer.scale,
            window_size=(left, 0) if causal else (-1, -1),
            return_aux=AuxRequest(lse=True) if lse else None,
            **options,
        )
        if isinstance(found, Tensor):
            return found, None
        return found[0], _by_token(*found)


def _by_token(out_QHD: Tensor, lse: Tensor) -> Tensor:
    """lse_QH. It is [H, Q] by torch's shape function, [Q, H] by its documentation."""
    n_tokens, n_heads, _ = out_QHD.shape
    return lse.T if lse.shape == (n_heads, n_tokens) else lse


def _lengths(runs: Sequence[Sequence[Run]]) -> list[int]:
    return [sum(b - a for a, b in of) for of in runs]


def _index(runs: Sequence[Sequence[Run]], n_all: int, device: torch.device) -> Tensor | None:
    """The tokens of all runs end to end; None if they are all `n_all` in order."""
    starts, ends = np.array([run for of in runs for run in of], np.int64).T
    if starts[0] == 0 and ends[-1] == n_all and (starts[1:] == ends[:-1]).all():
        return None
    lengths = ends - starts
    places = np.cumsum(lengths) - lengths
    index = np.arange(lengths.sum()) + np.repeat(starts - places, lengths)
    return torch.from_numpy(index).to(device)


def _bounds(lengths: list[int], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array([0, *accumulate(lengths)], np.int32)).to(device)


@cache
def _options() -> dict[str, Any]:
    """Keyword arguments that only later torch releases know (enable_gqa, num_splits)."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    wanted = {"enable_gqa": True, "num_splits": 1}
    return {name: value for name, value in wanted.items() if name in known}
