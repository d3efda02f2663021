"""Device tuning after loading: layers, weight layout and row counts."""

from __future__ import annotations

import logging
from typing import Any

import torch

from cluster.config import Layers
from cluster.engine.attention import tiled
from cluster.engine.batch_invariance import batch_invariant_sizes, candidate_sizes
from cluster.engine.cpu_matmul import lay_out
from cluster.engine.experts import has_experts
from cluster.engine.layers_proof import layers_agree
from cluster.engine.llama_layers import LlamaLayers, is_taken, llama_layers
from cluster.engine.model import PackedRewardModel

log = logging.getLogger(__name__)


def tune(model: PackedRewardModel, forward_tokens: int, layers: Layers = "auto") -> None:
    """Fit `model` to its device for forwards of about `forward_tokens` rows.

    `reference` is left as it was loaded: its kernels are the pipeline's.
    """
    if model.numerics == "reference":
        return
    on_cpu = model.device.type == "cpu"
    if on_cpu and layers == "auto":
        model.native_layers = _native_layers(model)
    if on_cpu and model.native_layers is None:
        lay_out(model.module.base_model)
    if model.numerics == "invariant":
        native = model.native_layers
        matmuls = None if native is None else native.matmuls()
        model.row_sizes = batch_invariant_sizes(model.module, forward_tokens, matmuls)
        if not model.row_sizes:
            log.warning(
                "%s: one chat a forward, as %s",
                type(model.module).__name__,
                _why_no_rows(model.module),
            )
    elif on_cpu:  # few row counts: a kernel is made once for each
        model.row_sizes = candidate_sizes("cpu", forward_tokens)


def hardware(model: PackedRewardModel) -> str:
    """The device, its kernels and its threads: what the bits of a reward depend on."""
    if model.device.type == "cuda":
        return torch.cuda.get_device_name(model.device)
    parts = [f"{model.device.type} {torch.backends.cpu.get_cpu_capability()}"]
    if tiled.is_available():
        parts.append(f"tiled attention by {'AMX' if tiled.has_tiles() else 'AVX512-BF16'}")
    parts += ["native layers"] if model.native_layers is not None else []
    return ", ".join([*parts, f"{torch.get_num_threads()} threads"])


def _why_no_rows(module: Any) -> str:
    if has_experts(module):
        return "the rows that its experts get follow the batch, and a row's bits follow them"
    return (
        "no row count gives a row the same bits in every batch on this device with "
        f"{torch.get_num_threads()} threads; a power of two (OMP_NUM_THREADS) may help"
    )


def _native_layers(model: PackedRewardModel) -> LlamaLayers | None:
    if not is_taken(model.module):
        return None
    if not layers_agree(model):
        log.warning("native layers do not compute what the model's own do: these are kept")
        return None
    return llama_layers(model.module)
