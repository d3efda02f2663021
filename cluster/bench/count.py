"""Forward cost (`bench engine --count`): FLOPs and bytes counted on meta tensors, and a roofline.

In the roofline each kernel takes the time of its FLOPs at the device's peak or of its bytes at its
bandwidth, whichever is longer. Kernels run one after another, and the host launches at most one per
`launch_s`. With a data sheet's peaks this is a time that no device beats: it compares versions of
the code and is not a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch

from cluster.bench import presets
from cluster.bench.op_counter import (
    CountingRecorder,
    FusedAttention,
    Kernel,
    Kind,
    OpCounter,
)
from cluster.engine.batch import PromptKey
from cluster.engine.batch_invariance import candidate_sizes, pad_rows
from cluster.engine.forward_graph import ForwardGraph
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import Batch, pack, prompt_key
from cluster.engine.prefix_cache import CachedForward, CachedPrompt
from cluster.types import Encoding, Numerics

META = torch.device("meta")
GRAPH_ROWS = 512
"""Batches of up to this many rows are counted as CUDA graphs too."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peak rates of a device, in FLOP/s and bytes/s.  launch_s: host seconds per kernel launch.

    The default launch time is eager PyTorch's: 0.4 ms measured for the 44 kernels of a layer on an
    AMD EPYC core.
    """

    name: str
    matmul_flops: float
    attention_flops: float
    bytes_per_s: float
    launch_s: float = 9e-6


DEVICES = {
    # Dense bf16 and memory bandwidth of NVIDIA's data sheets (SXM). Attention: FlashAttention-2
    # reaches 35% of an H100's peak (arXiv 2407.08608, abstract).
    "h100": Peaks("H100 SXM", 989.4e12, 0.35 * 989.4e12, 3.35e12),
    "h200": Peaks("H200 SXM", 989.4e12, 0.35 * 989.4e12, 4.8e12),
}


@dataclass(frozen=True, slots=True)
class BatchShape:
    """`n` responses of `response` tokens to each of `prompts` prompts of `prompt` tokens.

    kept: the prompts' keys and values are cached from an earlier batch (never in `reference`).
    """

    name: str
    prompts: int
    prompt: int
    n: int
    response: int
    kept: bool = False

    def encodings(self, vocab_size: int) -> list[Encoding]:
        """One encoding of random ids per response, the same in every call."""
        rng = np.random.default_rng(0)
        found = []
        for _ in range(self.prompts):
            prompt = rng.integers(0, vocab_size, self.prompt, dtype=np.int32)
            for _ in range(self.n):
                response = rng.integers(0, vocab_size, self.response, dtype=np.int32)
                found.append(Encoding(np.concatenate([prompt, response]), self.prompt))
        return found


SHAPES = (
    BatchShape("one chat", 1, 900, 1, 300),
    BatchShape("a group of 8", 1, 300, 8, 300),
    BatchShape("one of them, prompt kept", 1, 300, 1, 300, kept=True),
    BatchShape("a short one, prompt kept", 1, 900, 1, 100, kept=True),
    BatchShape("a group of 16", 1, 600, 16, 400),
    BatchShape("half full", 4, 448, 8, 200),
    BatchShape("full", 8, 448, 8, 200),
    BatchShape("64 answers to 32k", 1, 32_768, 64, 200),
)


def count_forward(
    preset: presets.Preset,
    device: str = "h200",
    token_budget: int = 16_384,
    shapes: Sequence[BatchShape] = SHAPES,
) -> dict[str, Any]:
    """Count one forward per shape and numerics; the result is ready for JSON.

    device: a key of `DEVICES`.  token_budget: unique tokens per batch.
    """
    peaks = DEVICES[device]
    module = presets.build(preset, META)
    rows = []
    for shape in shapes:
        for numerics in get_args(Numerics):
            row = count(module, numerics, shape, token_budget, peaks)
            rows.append(row)
            if numerics != "reference" and row["rows"] <= GRAPH_ROWS:
                rows.append(count(module, numerics, shape, token_budget, peaks, graphs=True))
    return {
        "bench": "count",
        "preset": preset,
        "device": peaks.name,
        "peaks": {name: getattr(peaks, name) for name in Peaks.__slots__ if name != "name"},
        "rows": rows,
    }


def count(
    module: Any,
    numerics: Numerics,
    shape: BatchShape,
    token_budget: int,
    peaks: Peaks,
    graphs: bool = False,
) -> dict[str, Any]:
    """One row: a batch of `shape` as `numerics` runs it on a GPU.  graphs: as CUDA graphs."""
    model = PackedRewardModel(module, numerics, attention="varlen")
    if numerics == "invariant":
        model.row_sizes = candidate_sizes("cuda", token_budget)
    encodings = shape.encodings(module.config.vocab_size)
    kept = _kept_prompts(encodings, module) if shape.kept and numerics != "reference" else {}
    batch = pack(encodings, numerics, cached={key: p.n_tokens for key, p in kept.items()})
    # `reference` runs one sequence after another. Here all have one length, so one is counted.
    times = len(batch.segments) if numerics == "reference" else 1
    run_as = pack(encodings[:1], numerics) if numerics == "reference" else batch
    padded = pad_rows(run_as, candidate_sizes("cuda", GRAPH_ROWS) if graphs else model.row_sizes)
    # Not in inference mode, which shows composite operators as a whole instead of their parts.
    with torch.no_grad(), OpCounter() as counter, FusedAttention(counter):
        if graphs:
            graph = ForwardGraph(padded.n_unique_tokens, META)
            graph.record(model.hidden, CountingRecorder(counter))
            model.graphs = {padded.n_unique_tokens: graph}
            counter.forget()
        model(run_as, CachedForward([kept[key] for key in batch.cached], {}, 0).wrap)
    attention = _attention_flops(padded, module.config)
    # Useful work is that of the distinct tokens that are not cached, without padding.
    unique = pack(encodings, "fast") if numerics == "reference" else batch
    useful = presets.flops_per_token(module) * unique.n_unique_tokens
    useful += _attention_flops(unique, module.config)
    kernels = counter.kernels
    seconds = times * forward_s(kernels, attention, peaks, counter.launches)
    matmul = times * sum(k.flops for k in kernels)
    return {
        "shape": shape.name,
        "numerics": numerics,
        "graphs": graphs,
        "sequences": len(batch),
        "tokens": batch.n_tokens,
        "unique_tokens": unique.n_unique_tokens,
        "rows": times * padded.n_unique_tokens,
        "kernels": times * len(kernels),
        "launches": times * counter.launches,
        "host_copies": times * counter.host_copies,
        "host_syncs": times * counter.host_syncs,
        "matmul_flops": matmul,
        "attention_flops": times * attention,
        "bytes": {kind: times * _bytes(kernels, kind) for kind in get_args(Kind)},
        "seconds": seconds,
        "host_bound": counter.launches * peaks.launch_s > device_s(kernels, attention, peaks),
        "tokens_per_s": batch.n_tokens / seconds,
        "fraction_of_peak": useful / seconds / peaks.matmul_flops,
    }


def forward_s(
    kernels: Sequence[Kernel], attention_flops: float, peaks: Peaks, launches: int
) -> float:
    """Predicted seconds of a forward: the device's, or the host's if launching takes longer.

    attention_flops: of all layers.
    """
    return max(device_s(kernels, attention_flops, peaks), launches * peaks.launch_s)


def device_s(kernels: Sequence[Kernel], attention_flops: float, peaks: Peaks) -> float:
    """Seconds of the kernels one after another.  attention_flops: of all layers."""
    others = sum(
        max(k.flops / peaks.matmul_flops, k.bytes / peaks.bytes_per_s)
        for k in kernels
        if k.kind != "attention"
    )
    moved = _bytes(kernels, "attention") / peaks.bytes_per_s
    return others + max(attention_flops / peaks.attention_flops, moved)


def _bytes(kernels: Sequence[Kernel], kind: Kind) -> float:
    return sum(k.bytes for k in kernels if k.kind == kind)


def _attention_flops(batch: Batch, config: Any) -> float:
    """FLOPs of all layers: 4 x hidden size for each pair of a query and a key that it sees."""
    own = ((s.depth, s.end - s.start) for s in batch.computed)
    pairs = sum(n * depth + n * (n + 1) // 2 for depth, n in own)
    layers: int = config.num_hidden_layers
    width: int = config.hidden_size
    return 4.0 * pairs * width * layers


def _kept_prompts(encodings: Sequence[Encoding], module: Any) -> dict[PromptKey, CachedPrompt]:
    """The prompts of `encodings` as the prompt cache would hold them, on meta tensors."""
    config = module.config
    found = {}
    for encoding in encodings:
        key = prompt_key(encoding)
        if key and key not in found:
            size = encoding.prompt_len, config.num_key_value_heads, config.head_dim
            states = torch.empty(size, dtype=module.dtype, device=META)
            layers = dict.fromkeys(range(config.num_hidden_layers), states)
            found[key] = CachedPrompt(encoding.prompt_len, layers, layers)
    return found
