"""Operator counter: kernels, FLOPs, bytes and host copies of a forward, without a device.

A `TorchDispatchMode` over meta tensors, which have shapes and dtypes but no values: an 8B model
needs neither memory nor a GPU. When the host reads a value of the device, it waits for all work
queued before: such a synchronisation is counted, and the value is taken as 0. Each operator that is
not a view counts as one kernel that reads its inputs and writes its outputs once. Knows nothing of
batches: attention's FLOPs depend on the segments, which a meta tensor does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Kind = Literal["matmul", "attention", "gather", "elementwise"]
"""gather: index_select, cat and copies, which move bytes and compute nothing."""

_FREE = {"_unsafe_view", "detach", "detach_", "lift_fresh", "alias", "empty", "empty_strided"}
_GATHERS = {"embedding", "index_select", "index"}
_MOVES = _GATHERS | {"cat", "copy_", "clone", "_to_copy", "index_copy_", "index_put_"}
_MATMULS = {"mm", "bmm", "addmm", "baddbmm"}


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel launch. `flops` is 0 for attention, see the module's docstring."""

    name: str
    kind: Kind
    flops: float
    bytes: float


class OpCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that run inside its `with` block.

    host_copies: copies from the host to the device.  host_syncs: values read by the host.
    launches: of kernels or, with a `CountingRecorder`, of graphs of them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[Kernel] = []
        self.launches = 0
        self.host_copies = 0
        self.host_syncs = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = op_name(func)
        if name == "_local_scalar_dense" and args[0].is_meta:
            self.host_syncs += 1
            return torch.zeros((), dtype=args[0].dtype).item()
        out = func(*args, **(kwargs or {}))
        inputs, outputs = tensors_in((args, kwargs)), tensors_in(out)
        on_device = any(t.is_meta for t in outputs)
        if not on_device or func.is_view or name in _FREE:
            return out
        if any(not t.is_meta and t.dim() for t in inputs):
            self.host_copies += 1
        self.launch([_kernel(name, [t for t in inputs if t.is_meta], outputs)])
        return out

    def launch(self, kernels: Sequence[Kernel]) -> None:
        """Count kernels that the host launches at once."""
        self.kernels += kernels
        self.launches += 1

    def forget(self) -> None:
        """Count from nothing again."""
        self.kernels = []
        self.launches = self.host_copies = self.host_syncs = 0


class CountingRecorder:
    """Graphs without a device: a launch counts again what was counted while recording."""

    def __init__(self, counter: OpCounter) -> None:
        self._counter = counter
        self._before = 0, 0

    def begin(self) -> None:
        self._before = len(self._counter.kernels), self._counter.launches

    def end(self) -> Callable[[], None]:
        first, launches = self._before
        recorded = self._counter.kernels[first:]
        del self._counter.kernels[first:]
        self._counter.launches = launches
        return partial(self._counter.launch, recorded)


class FusedAttention(TorchFunctionMode):
    """Counts torch's own attention as one kernel, as on a GPU; on meta tensors it is a dozen."""

    def __init__(self, counter: OpCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, _, value = args[:3]
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        moved = sum(map(_bytes, (*args[:3], out)))
        self._counter.launch([Kernel("sdpa", "attention", 0.0, moved)])
        return out


def _kernel(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> Kernel:
    written = sum(map(_bytes, outputs))
    read = sum(map(_bytes, inputs))
    if name in _GATHERS:  # only the selected rows of a table are read
        read = written + sum(_bytes(t) for t in inputs if not t.is_floating_point())
    elif name == "copy_":
        read -= written
    if name in _MATMULS:
        matrices = [t for t in inputs if t.dim() >= 2][-2:]
        flops = 2.0 * matrices[0].numel() * matrices[1].shape[-1]
        return Kernel(name, "matmul", flops, read + written)
    if "attn" in name or "attention" in name:
        return Kernel(name, "attention", 0.0, read + written)
    return Kernel(name, "gather" if name in _MOVES else "elementwise", 0.0, read + written)


def op_name(func: Any) -> str:
    """Of an operator that a `TorchDispatchMode` is given: `add` for `aten::add.Tensor`."""
    name: str = func.name().split("::")[1].split(".")[0]
    return name


def tensors_in(values: Any) -> list[Tensor]:
    """All tensors of an operator's arguments or results."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _bytes(tensor: Tensor) -> float:
    """Bytes of the distinct elements: an expanded dimension is stored once."""
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(n for n, stride in strides if stride) * tensor.element_size()
