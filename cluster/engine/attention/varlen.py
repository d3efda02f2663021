"""Variable-length attention on CUDA (torch's `varlen_attn`): one or two calls per layer.

Queries lie by segment; keys and values are gathered along each segment's ancestors, causal and
aligned bottom-right. The keys are not split, if torch offers the choice: a row's bits then do not
depend on its batch mates.

Segments deeper than CASCADE_DEPTH gather nothing: their own part runs causal, and each prompt's
keys meet all its responses' queries at once in a second call, without a mask; the two are merged by
their log-sum-exp (cascade inference: flashinfer.ai, 2024-02-02). Which way a segment goes follows
from its own depth alone, and so do its bits.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from cluster.engine.attention import AttentionFn, LayerAttention, ancestry
from cluster.engine.attention.masked import masked_attention
from cluster.engine.attention.varlen_calls import Run, VarlenCall
from cluster.engine.packing import Batch, Segment

CASCADE_DEPTH = 4096
"""Tokens. Counted on an 8B model's layer (bytes of all kernels, responses of 200 tokens): for 8 and
for 64 responses both ways cost the same at about 4,000 tokens of prompt. Beyond that, gathering
also takes unbounded memory: 8.6 GB per layer for 64 responses to 32k tokens."""


def prepare(batch: Batch, device: torch.device, batch_invariant: bool) -> AttentionFn:
    """An AttentionFn for one batch on a CUDA device."""
    deep = [s for s in batch.computed if s.depth >= CASCADE_DEPTH]

    @cache
    def gathered() -> VarlenCall:
        return _own_call(batch, [], device)

    @cache
    def own_and_prompts() -> tuple[VarlenCall, VarlenCall]:
        return _own_call(batch, deep, device), _prompts_call(batch, deep, device)

    def attend(
        query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
    ) -> Tensor:
        if not _in_kernel(layer):
            return masked_attention(batch, query_HTD, key_KTD, value_KTD, layer)
        # Under autocast rotary embeddings leave queries and keys in float32 beside bf16 values.
        query, key, value = (
            x.transpose(0, 1).to(value_KTD.dtype) for x in (query_HTD, key_KTD, value_KTD)
        )
        sinks = layer.sinks_H is not None
        if deep and layer.window is None and not torch.is_grad_enabled():
            own, prompts = own_and_prompts()
            out, lse = own(query, key, value, layer, causal=True, lse=True)
            part = prompts(query, key, value, layer, causal=False, lse=True)
            out, lse = _merged(out, lse, *part, prompts.queries_Q)
        else:
            out, lse = gathered()(query, key, value, layer, causal=True, lse=sinks)
        return _with_sinks(out, lse, layer.sinks_H)

    return attend


def _own_call(batch: Batch, deep: list[Segment], device: torch.device) -> VarlenCall:
    """Each segment with its whole context, the `deep` ones with their own tokens only."""
    alone = set(deep)
    rows = [[_rows(batch, s)] for s in batch.computed]
    contexts = [
        [(s.start, s.end)] if s in alone else ancestry(batch.segments, s) for s in batch.computed
    ]
    return VarlenCall.of(rows, contexts, batch.n_unique_tokens, _n_keys(batch), device)


def _prompts_call(batch: Batch, deep: list[Segment], device: torch.device) -> VarlenCall:
    """For each parent, the rows of all its `deep` children with the context that they share."""
    children: dict[int, list[Run]] = {}
    for s in deep:
        children.setdefault(s.parent, []).append(_rows(batch, s))
    contexts = [ancestry(batch.segments, batch.segments[parent]) for parent in children]
    rows = list(children.values())
    return VarlenCall.of(rows, contexts, batch.n_unique_tokens, _n_keys(batch), device)


def _rows(batch: Batch, segment: Segment) -> Run:
    return segment.start - batch.n_cached, segment.end - batch.n_cached


def _n_keys(batch: Batch) -> int:
    return batch.n_cached + batch.n_unique_tokens


def _merged(
    out_THD: Tensor,
    lse_TH: Tensor | None,
    part_QHD: Tensor,
    part_QH: Tensor | None,
    rows_Q: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """`out`, in place, and its log-sum-exp with a further part of the context of `rows`."""
    assert lse_TH is not None
    assert part_QH is not None
    if rows_Q is None:
        rows_Q = torch.arange(len(out_THD), device=out_THD.device)
    own_QHD, own_QH = out_THD.index_select(0, rows_Q), lse_TH.index_select(0, rows_Q)
    weight_QH = torch.sigmoid(part_QH - own_QH)
    both_QHD = torch.lerp(own_QHD.float(), part_QHD.float(), weight_QH.unsqueeze(-1))
    out_THD.index_copy_(0, rows_Q, both_QHD.to(out_THD.dtype))
    return out_THD, lse_TH.index_copy(0, rows_Q, torch.logaddexp(own_QH, part_QH))


def _in_kernel(layer: LayerAttention) -> bool:
    """Soft-caps and ALiBi are not in the kernel; nor has its log-sum-exp, which sinks need, a
    gradient."""
    sinks = layer.sinks_H is not None and torch.is_grad_enabled()
    return layer.softcap is None and layer.alibi_slopes_H is None and not sinks


def _with_sinks(out_THD: Tensor, lse_TH: Tensor | None, sinks_H: Tensor | None) -> Tensor:
    """`out` with one further score per head in its softmax's denominator."""
    if sinks_H is None:
        return out_THD
    assert lse_TH is not None
    kept_TH = torch.sigmoid(lse_TH - sinks_H.float())
    return (out_THD.float() * kept_TH.unsqueeze(-1)).to(out_THD.dtype)
