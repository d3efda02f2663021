"""Weights keep their values in another layout, and row counts are kept only if bits agree."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from cluster.engine import cpu_matmul
from cluster.engine.cpu_matmul import ANCHOR_ROWS, agreeing_rows, candidates, lay_out, linears


class Model(nn.Module):
    """Two layers of the shapes that differed most, below a `base_model`."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base_model = nn.Sequential(
            nn.Linear(512, 1536, bias=False, dtype=dtype), nn.Linear(1536, 512, dtype=dtype)
        )


def test_laying_out_changes_strides_and_nothing_else() -> None:
    model = Model(torch.bfloat16)
    before = [p.clone() for p in model.parameters()]
    lay_out(model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert [m.weight.stride() for m in cpu_matmul.linears(model)] == [(1, 1536), (1, 512)]


def test_candidates_are_few_and_close_together() -> None:
    sizes = candidates(20_000)
    assert ANCHOR_ROWS in sizes
    assert 20_000 <= sizes[-1] < 25_000
    assert len(sizes) < 50
    assert all(b - a <= max(128, a / 8) for a, b in pairwise(sizes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_most_row_counts_agree_on_this_machine(dtype: torch.dtype) -> None:
    model = Model(dtype)
    lay_out(model)
    sizes = agreeing_rows(linears(model), 3000)
    assert {1024, 2048} <= set(sizes) <= set(candidates(3000))


def test_large_row_counts_are_tried_for_so_much_work_and_not_for_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = linears(Model(torch.float32))
    n_weights = sum(layer.weight.numel() for layer in layers)
    monkeypatch.setattr(cpu_matmul, "LARGE_PROBE_FLOPS", 2.0 * n_weights * (2304 + 2560))
    monkeypatch.setattr(cpu_matmul, "linear", lambda rows, weight, bias: rows[:, :1])
    assert agreeing_rows(layers, 20_000) == tuple(candidates(2560))


def test_a_row_count_with_other_bits_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def moody(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return rows[:, :1] + (len(rows) in (128, 640))

    monkeypatch.setattr(cpu_matmul, "linear", moody)
    sizes = agreeing_rows(linears(Model(torch.float32)), 1024)
    assert set(candidates(1024)) - set(sizes) == {128, 640}


def test_no_row_count_is_kept_where_a_rows_bits_follow_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def uneven(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = rows[:, :1].clone()
        out[7::8] += 1
        return out

    monkeypatch.setattr(cpu_matmul, "linear", uneven)
    assert agreeing_rows(linears(Model(torch.float32)), 1024) == ()
