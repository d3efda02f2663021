"""Packed reward model: a transformers `*ForSequenceClassification`, Batch -> rewards_N.

The pooled token is found by length, never by searching for a pad id. Knows nothing of
conversations, errors of single items or memory: those are the engine's.

Shape legend: T unique tokens of the batch, N sequences, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cluster.config import EngineConfig
from cluster.engine.attention import (
    IMPLEMENTATION,
    AttentionFn,
    ancestry,
    load_backend,
    training_backend,
)
from cluster.engine.batch_invariance import pad_rows
from cluster.engine.cpu_matmul import multiplies_bfloat16
from cluster.engine.forward_graph import ForwardGraph
from cluster.engine.llama_layers import LlamaLayers
from cluster.engine.loading import load_module
from cluster.engine.packing import Batch
from cluster.engine.rope import forget_growth
from cluster.errors import ConfigError, ModelRefused
from cluster.types import Numerics

HEAD_ROWS = 16
"""CUDA gives a row of a sum more threads where there are fewer rows than this, and the order of the
sum follows (ATen's Reduce.cuh, `set_block_dimension`)."""


class PackedRewardModel(nn.Module):
    """Any decoder-only classifier with one label, `score` as its head, Llama first.

    module: the transformers model itself; train it, save it, read its config.
    numerics: `reference` runs the model's own forward, a sequence at a time; the others run all
    sequences of a batch in one, without padding, each shared prefix once.
    graphs: its forwards as they are recorded, by their rows.
    not_packed: why it runs its own forward though it was not asked to; "" if it does not.
    """

    def __init__(
        self,
        module: Any,
        numerics: Numerics = "fast",
        head_dtype: Literal["model", "float32"] = "model",
        attention: str = "auto",
        checkpoint_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(getattr(module, "score", None), nn.Linear):
            raise ModelRefused(
                f"{type(module).__name__} has no linear head `score`; a decoder-only "
                "*ForSequenceClassification is needed"
            )
        self.module = module
        self.numerics = numerics
        self.head_dtype = (
            torch.float32 if head_dtype == "float32" else checkpoint_dtype or self.dtype
        )
        self.attention = attention
        load_backend(attention, self.device, self.dtype)  # a name that is unknown is told here
        self.row_sizes: tuple[int, ...] = ()
        self.native_layers: LlamaLayers | None = None
        self.graphs: Mapping[int, ForwardGraph] = {}
        self.own_attention = _own_attention(module)
        self.not_packed = ""
        own = numerics == "reference"
        module.set_attn_implementation(self.own_attention if own else IMPLEMENTATION)

    @classmethod
    def load(cls, config: EngineConfig) -> PackedRewardModel:
        """Load safetensors weights through accelerate onto `config.device`, ready to score.

        Raises ModelRefused for a checkpoint that is missing or no scalar reward model, ConfigError
        for an attention that does not take its dtype.
        """
        device = resolve_device(config.device)
        dtype: torch.dtype = getattr(torch, config.dtype)
        widened = compute_dtype(config, device) is torch.float32
        if config.attention == "varlen" and widened:
            raise ConfigError("attention varlen takes half precision only; use auto for float32")
        module = load_module(config, dtype, device)
        if widened:
            module.float()
        module.eval().requires_grad_(False)
        return cls(module, config.numerics, config.head_dtype, config.attention, dtype)

    def use_own_forward(self, reason: str = "") -> None:
        """From now on as `reference`: the model's own attention, a sequence at a time."""
        self.not_packed = reason
        self.numerics = "reference"
        self.row_sizes = ()
        self.native_layers = None
        self.graphs = {}
        self.module.set_attn_implementation(self.own_attention)

    @property
    def device(self) -> torch.device:
        return self.module.score.weight.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return self.module.score.weight.dtype  # type: ignore[no-any-return]

    @property
    def _states_dtype(self) -> torch.dtype:
        """Of queries, keys and values: autocast's where it is on."""
        kind = self.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            return torch.get_autocast_dtype(kind)
        return self.dtype

    def forward(
        self, batch: Batch, wrap: Callable[[AttentionFn], AttentionFn] | None = None
    ) -> Tensor:
        """rewards_N, float32 on the model's device; differentiable when grad is enabled.

        wrap: put round the attention of every layer, such as `CachedForward.wrap`.
        """
        if self.numerics == "reference":
            return self._reference(batch)
        return self.head(self.pooled(batch, wrap))

    def pooled(
        self, batch: Batch, wrap: Callable[[AttentionFn], AttentionFn] | None = None
    ) -> Tensor:
        """hidden_ND at each sequence's last token, from one packed forward."""
        batch = pad_rows(batch, self._rows_for(batch.n_unique_tokens))
        # By the device of now: training moves the model after it is made.
        choose = training_backend if torch.is_grad_enabled() else load_backend
        backend = choose(self.attention, self.device, self._states_dtype)
        last_N = torch.from_numpy(batch.last_token_N).to(self.device)
        ids_T = torch.from_numpy(batch.input_ids_T).to(self.device, torch.long)
        positions_T = torch.from_numpy(batch.position_ids_T).to(self.device, torch.long)
        attend = backend(batch, self.device, self.numerics == "invariant")
        attend = wrap(attend) if wrap else attend
        if self.native_layers is not None and not torch.is_grad_enabled():
            return self.native_layers.pooled(ids_T, positions_T, attend, last_N, self.row_sizes)
        graph = None if torch.is_grad_enabled() else self.graphs.get(len(ids_T))
        hidden = graph or self.hidden
        return hidden(ids_T, positions_T, attend).index_select(0, last_N)

    def hidden(self, ids_T: Tensor, positions_T: Tensor, attend: AttentionFn) -> Tensor:
        """hidden_TD of the model's own layers, behind its last norm."""
        output = self.module.base_model(
            input_ids=ids_T[None],
            position_ids=positions_T[None],
            use_cache=False,
            segments=attend,
        )
        hidden_TD: Tensor = output.last_hidden_state[0]
        return hidden_TD

    def _rows_for(self, n: int) -> tuple[int, ...]:
        """What `n` rows are filled up to the next of, those of a graph included."""
        recorded = () if torch.is_grad_enabled() else tuple(sorted(self.graphs))
        return recorded if recorded and n <= recorded[-1] else self.row_sizes

    def head(self, pooled_ND: Tensor) -> Tensor:
        """The scalar head on the grid of `head_dtype`.

        A product and a sum in float32 rather than a matmul: its rows do not see each other, and
        it is rounded once.
        """
        n_rows = len(pooled_ND)
        if n_rows < HEAD_ROWS and self.numerics == "invariant":
            pooled_ND = torch.cat([pooled_ND, pooled_ND[-1:].expand(HEAD_ROWS - n_rows, -1)])
        weight_D = self.module.score.weight[0]
        products_ND = pooled_ND.to(self.head_dtype).float() * weight_D.float()
        rewards_N: Tensor = products_ND.sum(-1)[:n_rows]
        if self.module.score.bias is not None:
            rewards_N = rewards_N + self.module.score.bias.float()
        if torch.is_grad_enabled():
            return rewards_N
        return rewards_N.to(self.head_dtype).float()

    def _reference(self, batch: Batch) -> Tensor:
        """Each sequence alone through the model's own attention and head, as in the pipeline."""
        rewards_N = []
        for last in batch.last_token_N.tolist():
            segment = next(s for s in batch.segments if s.start <= last < s.end)
            context = ancestry(batch.segments, segment)
            runs = [batch.input_ids_T[a : min(b, last + 1)] for a, b in context]
            ids_T = torch.from_numpy(np.concatenate(runs)).to(self.device)
            forget_growth(self.module)
            hidden = self.module.base_model(input_ids=ids_T[None].long(), use_cache=False)
            rewards_N.append(self._reference_head(hidden.last_hidden_state[0])[-1])
        return torch.stack(rewards_N).float()

    def _reference_head(self, hidden_TD: Tensor) -> Tensor:
        """The head over all positions, as transformers applies it: the kernel follows the shape."""
        if self.head_dtype is not self.dtype:
            return self.head(hidden_TD)
        logits: Tensor = self.module.score(hidden_TD)
        return logits[:, 0]


def _own_attention(module: Any) -> str:
    """The attention that transformers chose for `module`; the best it has where it was ours."""
    chosen: str = module.config._attn_implementation
    if chosen == IMPLEMENTATION:
        return "sdpa" if getattr(module, "_supports_sdpa", False) else "eager"
    return chosen


def resolve_device(device: str) -> torch.device:
    """`auto` is the first GPU, else the CPU."""
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def compute_dtype(config: EngineConfig, device: torch.device) -> torch.dtype:
    """The dtype of the arithmetic; see `EngineConfig.compute`.

    On a CPU without bf16 instructions torch's bf16 matmul runs at half of its float32 one's speed
    or less, so the same weights are widened once.
    """
    dtype: torch.dtype = getattr(torch, config.dtype)
    if config.numerics == "reference" or config.compute == "model":
        return dtype
    if config.compute == "float32":
        return torch.float32
    slow = device.type == "cpu" and not multiplies_bfloat16()
    return torch.float32 if slow else dtype
