"""Prefix cache: keys and values of prompts, kept between the batches of one engine.

Responses to one prompt that arrive one after another then cost what they would together. A response
to a known prompt attends to the kept keys as it would to freshly computed ones, in the same order
and by the same kernels, so in `invariant` numerics a hit gives the bits of a miss.

Bounded bytes; the least recently used prompt goes first. An entry holds, per token, key and value
of each layer: 2 x layers x key/value heads x head size x bytes per number, which is 128 KiB for
Llama-3-8B in bfloat16, so 1 GiB holds 8,192 prompt tokens. Lives and dies with the weights: an
engine has one of its own. Not thread-safe, as the engine is not.

Shape legend: P tokens of a prompt, K key/value heads, D head size, T computed tokens of a batch.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cluster.engine.attention import AttentionFn, LayerAttention, ancestry
from cluster.engine.batch import Batch, PromptKey
from cluster.engine.packing import prompt_key
from cluster.types import Encoding, PromptCacheStats

Run = tuple[int, int]


@dataclass(slots=True)
class CachedPrompt:
    """Keys and values of one prompt, [P, K, D] by layer."""

    n_tokens: int
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        return sum(t.nbytes for part in (self.keys, self.values) for t in part.values())


class PromptCache:
    """At most `max_bytes` of prompts, least recently used first out; 0 keeps nothing."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._prompts: OrderedDict[PromptKey, CachedPrompt] = OrderedDict()
        self._n_bytes = 0
        self._bytes_per_token = 0.0
        self._hits = self._misses = self._hit_tokens = self._computed_tokens = 0

    @property
    def stats(self) -> PromptCacheStats:
        return PromptCacheStats(
            hits=self._hits,
            misses=self._misses,
            hit_tokens=self._hit_tokens,
            computed_tokens=self._computed_tokens,
            prompts=len(self._prompts),
            bytes=self._n_bytes,
            max_bytes=self.max_bytes,
        )

    def lengths(self, encodings: Sequence[Encoding]) -> dict[PromptKey, int]:
        """Tokens of each prompt of `encodings` that is kept; all of them become the newest."""
        found = {}
        for key in _keys(encodings):
            if key in self._prompts:
                self._prompts.move_to_end(key)
                found[key] = self._prompts[key].n_tokens
        return found

    def begin(self, batch: Batch, encodings: Sequence[Encoding]) -> CachedForward:
        """What one forward of `batch`, packed from `encodings`, reads from the cache and adds to
        it."""
        new: dict[PromptKey, list[Run]] = {}
        if not self.max_bytes:
            return CachedForward([], new, batch.n_unique_tokens)
        for index, encoding in enumerate(encodings):
            key = prompt_key(encoding)
            if key and key not in new and key not in batch.cached and self._fits(encoding):
                new[key] = _prompt_runs(batch, index, encoding.prompt_len)
        known = [self._prompts[key] for key in batch.cached]
        return CachedForward(known, new, batch.n_unique_tokens)

    def end(self, forward: CachedForward) -> None:
        """Keep what a successful forward has computed, and count it."""
        self._computed_tokens += forward.n_computed
        self._hits += len(forward.known)
        self._hit_tokens += sum(prompt.n_tokens for prompt in forward.known)
        self._misses += len(forward.new)
        for key, prompt in forward.new.items():
            self._keep(key, prompt)

    def clear(self) -> None:
        """Forget every prompt."""
        self._prompts.clear()
        self._n_bytes = 0

    def _fits(self, encoding: Encoding) -> bool:
        return encoding.prompt_len * self._bytes_per_token <= self.max_bytes

    def _keep(self, key: PromptKey, prompt: CachedPrompt) -> None:
        n_bytes = prompt.n_bytes
        if not n_bytes:  # no layer came through the packed attention
            return
        self._bytes_per_token = n_bytes / prompt.n_tokens
        if n_bytes > self.max_bytes:
            return
        old = self._prompts.pop(key, None)
        self._prompts[key] = prompt
        self._n_bytes += n_bytes - (old.n_bytes if old else 0)
        while self._n_bytes > self.max_bytes:
            _, oldest = self._prompts.popitem(last=False)
            self._n_bytes -= oldest.n_bytes


class CachedForward:
    """One forward's share of the cache. known: the prompts it reads.

    runs: where each new prompt lies among the keys of the batch. n_computed: its tokens.
    """

    def __init__(
        self, known: list[CachedPrompt], runs: dict[PromptKey, list[Run]], n_computed: int
    ) -> None:
        self.known = known
        self.n_computed = n_computed
        self.new = {key: CachedPrompt(sum(b - a for a, b in of)) for key, of in runs.items()}
        self._runs = runs

    def wrap(self, attend: AttentionFn) -> AttentionFn:
        """`attend` over the known prompts' keys in front of the batch's own; keeps the new ones."""
        if not self.known and not self.new:
            return attend

        def cached(
            query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, layer: LayerAttention
        ) -> Tensor:
            at = layer.layer
            key = _behind([prompt.keys[at] for prompt in self.known], key_KTD)
            value = _behind([prompt.values[at] for prompt in self.known], value_KTD)
            for name, prompt in self.new.items():
                prompt.keys[at] = _copy(key, self._runs[name])
                prompt.values[at] = _copy(value, self._runs[name])
            return attend(query_HTD, key, value, layer)

        return cached


def _behind(known: list[Tensor], own_KTD: Tensor) -> Tensor:
    """Known [P, K, D] in front of a batch's own, token by token in memory as the model has it."""
    if not known:
        return own_KTD
    return torch.cat([*known, own_KTD.transpose(0, 1)]).transpose(0, 1)


def _copy(states_KCD: Tensor, runs: list[Run]) -> Tensor:
    """[P, K, D]: the tokens of `runs`, in memory of their own."""
    parts = [states_KCD[:, a:b].transpose(0, 1) for a, b in runs]
    return torch.cat(parts) if len(parts) > 1 else parts[0].contiguous().clone()


def _keys(encodings: Iterable[Encoding]) -> set[PromptKey]:
    return {key for encoding in encodings if (key := prompt_key(encoding))}


def _prompt_runs(batch: Batch, index: int, prompt_len: int) -> list[Run]:
    """Where the first `prompt_len` tokens of the batch's sequence `index` lie among its keys."""
    last = int(batch.last_token_N[index]) + batch.n_cached
    at = bisect.bisect_right([s.start for s in batch.segments], last) - 1
    runs = []
    for start, end in ancestry(batch.segments, batch.segments[at]):
        if prompt_len > 0:
            runs.append((start, min(end, start + prompt_len)))
        prompt_len -= end - start
    return runs
