"""CUDA graphs by their documentation, on the CPU: what is recorded is run again on the same memory.

While recording nothing runs, so that results are garbage (here: NaN), and the host may not read a
value. A launch runs the same kernels on the same tensors, whatever these hold by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cluster.bench.op_counter import op_name, tensors_in

Kernel = Callable[[], None]
_READS = {"item", "_local_scalar_dense", "equal", "is_nonzero", "nonzero"}


class EmulatedRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """launched: how often a graph was launched."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launched = 0
        self._kernels: list[Kernel] = []

    def begin(self) -> None:
        self._kernels = []
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> Kernel:
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        return partial(self._launch, self._kernels)

    def _launch(self, kernels: list[Kernel]) -> None:
        self.launched += 1
        for kernel in kernels:
            kernel()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if op_name(func) in _READS:
            raise RuntimeError("operation not permitted when stream is capturing")
        found = func(*args, **(kwargs or {}))
        given = {_memory(x) for x in tensors_in((args, kwargs))}
        made = [x for x in tensors_in(found) if _memory(x) not in given]
        if made or func._schema.is_mutable:  # else a view of what is there
            self._kernels.append(partial(_again, func, args, dict(kwargs or {}), made, given))
        for out in made:
            out.fill_(torch.nan if out.is_floating_point() else 0)
        return found


def _again(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: list[Tensor], given: set[int]
) -> None:
    """Run `func` again and put what it makes where it was when it was recorded."""
    found = [x for x in tensors_in(func(*args, **kwargs)) if _memory(x) not in given]
    for out, new in zip(made, found, strict=True):
        out.copy_(new)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
