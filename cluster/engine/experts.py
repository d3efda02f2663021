"""Mixture of experts in `invariant` numerics: an expert's matmuls run at fixed row counts.

The number of rows that an expert gets depends on the whole batch, and so do the kernel and a row's
bits. Here each expert's rows are padded to the next of a few counts at which the bits are the same,
through the hook that transformers offers for the experts of a layer (`ExpertsInterface`).

Shape legend: T tokens, E experts that a token takes, S = T * E, D hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.integrations.moe import ExpertsInterface

from cluster.engine.cpu_matmul import linears
from cluster.engine.cpu_rows import invariant_rows

IMPLEMENTATION = "fixed_rows"
"""The name under which transformers knows our experts function."""
_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def has_experts(module: Any) -> bool:
    """Whether tokens of `module` go to experts, so that row counts of matmuls depend on the
    batch."""
    text = module.config.get_text_config()
    configs = (text, getattr(text, "ffn_config", None))
    counts = [getattr(config, name, None) for config in configs for name in _COUNTS]
    return any(isinstance(n, int) and n > 1 for n in counts) or bool(_experts(module))


def fix_expert_rows(module: Any, largest: int) -> bool:
    """Have the experts of `module` run at fixed row counts up to about `largest`, on a CPU.

    Whether they do: some architectures loop over their experts by themselves, and where no row
    counts agree there is nothing to fix.
    """
    experts = _experts(module)
    if not experts:
        return False
    probe = _OneOfEach(experts)
    sizes = invariant_rows(linears(probe), largest, expert_widths(module))
    if not sizes:
        return False
    use_fixed_rows(module, sizes)
    return True


def use_fixed_rows(module: Any, sizes: tuple[int, ...]) -> None:
    """Have the experts of `module` run at `sizes`, ascending, and multiples of the largest."""
    for part in _experts(module):
        part.row_counts = sizes
    module.set_experts_implementation(IMPLEMENTATION)


def expert_widths(module: Any) -> set[int]:
    """Columns of what the experts' matmuls read and write."""
    return {n for part in _experts(module) for name in _weights(part) for n in _shape(part, name)}


class _OneOfEach(nn.Module):
    """The first expert of each layer as Linears, for `invariant_rows`."""

    def __init__(self, experts: list[Any]) -> None:
        super().__init__()
        self.base_model = nn.ModuleList()
        for part in experts:
            for name in _weights(part):
                weight = _first(part, name)
                layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
                layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
                self.base_model.append(layer)


def _experts(module: Any) -> list[Any]:
    """The parts of `module` that ask transformers for their experts function."""
    return [
        part
        for part in module.modules()
        if hasattr(part, "_is_expert_parallel") and hasattr(part, "num_experts")
    ]


def _weights(part: Any) -> tuple[str, str]:
    return ("gate_up_proj" if part.has_gate else "up_proj", "down_proj")


def _first(part: Any, name: str) -> Tensor:
    weight: Tensor = getattr(part, name)[0]
    return weight.t() if part.is_transposed else weight


def _shape(part: Any, name: str) -> tuple[int, ...]:
    return tuple(getattr(part, name).shape[1:])


def _fixed_rows(
    self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """Hidden states [T, D] -> [T, D]: the weighted sum over the experts of each token."""
    n_tokens, n_taken = top_k_index.shape
    expert_S = top_k_index.reshape(-1)
    order_S = expert_S.argsort(stable=True)
    counts = expert_S.bincount(minlength=self.num_experts).tolist()
    out_SD = torch.empty_like(hidden_states[:1]).expand(len(expert_S), -1).contiguous()
    for expert, rows in enumerate(torch.split(order_S, counts)):
        if len(rows):
            x_RD = hidden_states.new_zeros(_fixed(len(rows), self.row_counts), out_SD.shape[1])
            x_RD[: len(rows)] = hidden_states[rows // n_taken]
            out_SD[rows] = _expert(self, expert, x_RD)[: len(rows)]
    weighted_SD = out_SD * top_k_weights.reshape(-1, 1)
    return weighted_SD.view(n_tokens, n_taken, -1).sum(1).to(hidden_states.dtype)


def _expert(part: Any, expert: int, x_RD: Tensor) -> Tensor:
    first, second = _weights(part)
    inner = _linear(part, first, expert, x_RD)
    inner = part._apply_gate(inner) if part.has_gate else part.act_fn(inner)
    out_RD = _linear(part, second, expert, inner)
    norm = part.post_expert_norm if part.has_post_expert_norm else None
    return norm(out_RD) if norm else out_RD


def _linear(part: Any, name: str, expert: int, x: Tensor) -> Tensor:
    weight = getattr(part, name)[expert]
    bias = getattr(part, f"{name}_bias")[expert] if part.has_bias else None
    return linear(x, weight.t() if part.is_transposed else weight, bias)


def _fixed(n: int, sizes: tuple[int, ...]) -> int:
    return next((size for size in sizes if size >= n), -(-n // sizes[-1]) * sizes[-1])


ExpertsInterface.register(IMPLEMENTATION, _fixed_rows)
