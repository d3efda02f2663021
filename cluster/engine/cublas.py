"""cuBLAS settings for batch invariance: no split-K.

On recent GPUs the one source of batch variance in a matmul is split-K: for few rows, cuBLAS sums
parts of a row in several blocks. Without workspace memory it cannot. The switches are vLLM's (its
model_executor/determinism/batch_invariant.py); whether they hold is then tried on the device
itself, at load, by `batch_invariance.agreeing_sizes`.
"""

from __future__ import annotations

import os

import torch

WORKSPACES = {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "CUBLASLT_WORKSPACE_SIZE": "1"}
"""Read by torch at a process's first matmul: one that ran before keeps its own."""


def forbid_split_k() -> None:
    """For this process and all its devices; what the environment already says stays."""
    for name, value in WORKSPACES.items():
        os.environ.setdefault(name, value)
    matmul = torch.backends.cuda.matmul
    # (reduced precision, split-K); typed as the bool that it was before torch 2.10
    off: bool = (False, False)  # type: ignore[assignment]
    matmul.allow_bf16_reduced_precision_reduction = off
    matmul.allow_fp16_reduced_precision_reduction = off
    if torch.cuda.is_available():
        torch.backends.cuda.preferred_blas_library("cublaslt")
