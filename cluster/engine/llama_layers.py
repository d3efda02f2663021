"""The layers of Llama-like models on a CPU in bfloat16: few matmuls, and native kernels between.

Query, key and value are one matmul, and so are gate and up; norms, rotary, SiLU and residuals are a
pass over memory each (`llama_layers.cpp`), where transformers takes some thirty. Behind the last
layer's attention only the pooled tokens go on. Weights are the module's own, seen through views, so
nothing is held twice.

Knows Llama, Mistral, Qwen2 and Qwen3. `layers_proof` holds the model's own layers against them
at load, so that a config that asks for something else is found out.

Shape legend: T tokens, N sequences, D hidden size, H query heads, K key/value heads.
"""

from __future__ import annotations

import bisect
import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from cluster.engine.attention import AttentionFn, LayerAttention
from cluster.engine.native import load_library

SOURCE = Path(__file__).with_suffix(".cpp")
FEATURES = ("avx512f", "avx512bw", "avx512vl", "avx512bf16")
FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
STEP = 32
"""Sizes are multiples of it."""


class LlamaLayers:
    """A Llama-like model without its head."""

    def __init__(self, body: Any, library: ctypes.CDLL) -> None:
        self._body = body
        self._library = library
        self._layers = [_Layer(layer) for layer in body.layers]

    def matmuls(self) -> list[nn.Linear]:
        """All that a forward runs through."""
        return [
            linear
            for layer in self._layers
            for linear in (layer.qkv, layer.output, layer.gate_up, layer.down)
        ]

    @torch.inference_mode()
    def pooled(
        self,
        ids_T: Tensor,
        positions_T: Tensor,
        attend: AttentionFn,
        last_N: Tensor,
        row_sizes: Sequence[int] = (),
    ) -> Tensor:
        """hidden_ND at each sequence's last token `last_N`, after the last norm.

        row_sizes: what the number of rows is filled up to where only pooled tokens go on.
        """
        body = self._body
        layers = self._layers[: len(body.layers)]  # a proof at load may run the first ones alone
        last_N, places_N = torch.unique(last_N, return_inverse=True)
        x_TD = embedding(ids_T, body.embed_tokens.weight)
        cosine, sine = body.rotary_emb(x_TD[None], position_ids=positions_T[None])
        turns = cosine[0].contiguous(), sine[0].contiguous()  # all layers read them by pointer
        normed = self._add_norm(x_TD, None, layers[0].norm)
        for layer, after in zip(layers, [*(x.norm for x in layers[1:]), body.norm], strict=True):
            attended = self._attend(layer, normed, turns, attend)
            if layer is layers[-1]:
                rows = _filled(last_N, row_sizes)
                attended, x_TD = attended.index_select(0, rows), x_TD.index_select(0, rows)
            normed = self._add_norm(x_TD, layer.output(attended), layer.mlp_norm)
            normed = self._add_norm(x_TD, self._mlp(layer, normed), after)
        return normed.index_select(0, places_N)

    def _attend(
        self, layer: _Layer, normed_TD: Tensor, turns: tuple[Tensor, ...], attend: AttentionFn
    ) -> Tensor:
        """[T, H * size], from the attention of all heads."""
        rows, n_heads, n_kv = len(normed_TD), layer.n_heads, layer.n_kv
        states = layer.qkv(normed_TD)
        norms = [_pointer(norm and norm.weight) for norm in (layer.query_norm, layer.key_norm)]
        eps = layer.query_norm.variance_epsilon if layer.query_norm else 0.0
        self._library.rotate_heads(
            _pointer(states),
            *(_pointer(turn) for turn in turns),
            *norms,
            *(rows, n_heads, n_heads + n_kv, n_kv, layer.size),
            *(ctypes.c_float(eps), torch.get_num_threads()),
        )
        heads = states.view(rows, -1, layer.size).transpose(0, 1)
        query, key, value = heads.split([n_heads, n_kv, n_kv])
        return attend(query, key, value, layer.attention).flatten(1)

    def _add_norm(self, x_TD: Tensor, delta_TD: Tensor | None, norm: Any) -> Tensor:
        """The norm of x + delta, which `x_TD` becomes."""
        out_TD = torch.empty_like(x_TD)
        pointers = (_pointer(x) for x in (x_TD, delta_TD, norm.weight))
        eps = ctypes.c_float(norm.variance_epsilon)
        threads = torch.get_num_threads()
        self._library.add_norm(*pointers, *x_TD.shape, eps, _pointer(out_TD), threads)
        return out_TD

    def _mlp(self, layer: _Layer, normed_TD: Tensor) -> Tensor:
        both = layer.gate_up(normed_TD)
        rows, width = len(both), both.shape[1] // 2
        product = both.new_empty(rows, width)
        threads = torch.get_num_threads()
        self._library.silu_mul(_pointer(both), rows, width, _pointer(product), threads)
        out: Tensor = layer.down(product)
        return out


class _Layer:
    """One layer's weights, side by side where one matmul takes them."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.size: int = attention.head_dim
        self.n_heads = attention.q_proj.out_features // self.size
        self.n_kv = attention.k_proj.out_features // self.size
        self.qkv = _side_by_side(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output = _side_by_side(attention.o_proj)
        self.gate_up = _side_by_side(mlp.gate_proj, mlp.up_proj)
        self.down = _side_by_side(mlp.down_proj)
        self.norm, self.mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        self.query_norm = getattr(attention, "q_norm", None)
        self.key_norm = getattr(attention, "k_norm", None)
        window = getattr(attention, "sliding_window", None)
        if "Mistral" in type(layer).__name__:
            window = getattr(attention.config, "sliding_window", None)
        index: int = attention.layer_idx
        self.attention = LayerAttention(attention.scaling, window, layer=index)


def llama_layers(module: Any) -> LlamaLayers | None:
    """`module` through native kernels; None for another model or machine, or no compiler.

    Lays the weights of its layers out anew; the module computes what it did.
    """
    library = load_library(SOURCE, FEATURES) if is_taken(module) else None
    return LlamaLayers(module.base_model, library) if library else None


def is_taken(module: Any) -> bool:
    """Whether it is of a family and of sizes that the kernels know, and this machine has them."""
    if not torch.cpu._is_avx512_bf16_supported():
        return False
    weight, config = module.score.weight, module.config.get_text_config()
    if weight.device.type != "cpu" or weight.dtype is not torch.bfloat16:
        return False
    if type(module.base_model).__name__ not in {f"{family}Model" for family in FAMILIES}:
        return False
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sizes = config.hidden_size, config.intermediate_size, head
    return config.hidden_act == "silu" and not any(size % STEP for size in sizes)


def _side_by_side(*layers: nn.Linear) -> nn.Linear:
    """One Linear of all `layers`' columns, whose weights become views of its own.

    Transposed in memory: see `cpu_matmul`.
    """
    weight = torch.cat([layer.weight.data for layer in layers]).t().contiguous().t()
    n_out, n_in = weight.shape
    together = nn.Linear(n_in, n_out, bias=False, device="meta")
    together.weight = nn.Parameter(weight, requires_grad=False)
    biases = [layer.bias for layer in layers if layer.bias is not None]
    if biases:
        together.bias = nn.Parameter(torch.cat([b.data for b in biases]), requires_grad=False)
    views = torch.split(weight, [layer.out_features for layer in layers])
    for layer, view in zip(layers, views, strict=True):
        layer.weight.data = view
    return together


def _filled(last_N: Tensor, row_sizes: Sequence[int]) -> Tensor:
    """`last_N` with its last entry again, up to the next of `row_sizes`; beyond them, as it is."""
    at = bisect.bisect_left(row_sizes, len(last_N))
    if at == len(row_sizes):
        return last_N
    more = row_sizes[at] - len(last_N)
    return torch.cat([last_N, last_N[-1:].expand(more)])


def _pointer(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())
