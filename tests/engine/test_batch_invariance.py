"""Row counts of `invariant` on a GPU: close to what a batch has, each tried on the weights."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import linear

from cluster.engine import batch_invariance
from cluster.engine.cublas import WORKSPACES, forbid_split_k
from cluster.engine.packing import pack
from cluster.types import Encoding


class Module(nn.Module):
    """Just what is tried: the linear layers of a base model."""

    def __init__(self) -> None:
        super().__init__()
        self.base_model = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 16))
        self.score = nn.Linear(16, 1)


def chat(n: int) -> Encoding:
    return Encoding(np.arange(n, dtype=np.int32))


@given(n=st.integers(1, 5000), budget=st.sampled_from([1000, 4096]))
def test_a_gpu_runs_at_most_one_step_more_than_a_batch_has(n: int, budget: int) -> None:
    sizes = batch_invariance.candidate_sizes("cuda", budget)
    batch = batch_invariance.pad_rows(pack([chat(n)]), sizes)
    assert n <= batch.n_unique_tokens < n + batch_invariance.STEP


def test_dummy_tokens_stand_at_position_0_in_short_segments() -> None:
    batch = batch_invariance.pad_rows(pack([chat(700)]), (1024,))
    dummies = batch.segments[1:]
    assert [s.end - s.start for s in dummies] == [128, 128, 68]
    assert all((s.depth, s.parent) == (0, -1) for s in dummies)
    assert not batch.position_ids_T[700:].any()
    assert not batch.input_ids_T[700:].any()


def test_row_counts_at_which_a_matmul_takes_another_order_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def split_k(x: Tensor, weight: Tensor) -> Tensor:
        """As cuBLAS does for few rows: two halves of the sum."""
        if len(x) not in (256, 768):
            return linear(x, weight)
        half = x.shape[1] // 2
        return linear(x[:, :half], weight[:, :half]) + linear(x[:, half:], weight[:, half:])

    monkeypatch.setattr(batch_invariance, "linear", split_k)
    sizes = batch_invariance.candidate_sizes("cuda", 1024)
    assert sizes == (256, 512, 768, 1024)
    assert set(batch_invariance.sizes_that_agree(Module(), sizes)) <= {512, 1024}
    assert 1024 in batch_invariance.sizes_that_agree(Module(), sizes)


def test_where_sizes_are_missing_longer_batches_take_a_multiple_of_the_largest() -> None:
    assert batch_invariance.pad_rows(pack([chat(1100)]), (512, 1024)).n_unique_tokens == 1536
    assert batch_invariance.pad_rows(pack([chat(1100)]), (256, 1024)).n_unique_tokens == 2048


def test_split_k_is_off_unless_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    matmul: Any = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.delenv("CUBLASLT_WORKSPACE_SIZE", raising=False)
    try:
        forbid_split_k()
        assert not matmul.allow_bf16_reduced_precision_reduction
        assert not matmul.allow_bf16_reduced_precision_reduction_split_k
        assert not matmul.allow_fp16_reduced_precision_reduction_split_k
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before
        matmul.allow_fp16_reduced_precision_reduction = before
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["CUBLASLT_WORKSPACE_SIZE"] == WORKSPACES["CUBLASLT_WORKSPACE_SIZE"]
