"""Contenders of the engine benchmark: transformers, one by one and padded, and this engine.

A contender scores a list of encodings in units of its own: a sequence, a padded batch or a whole
packed workload. Tokenization is never timed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

import torch

from cluster.config import EngineConfig
from cluster.engine.device_limits import prompt_cache_bytes
from cluster.engine.model import PackedRewardModel, compute_dtype
from cluster.engine.packing import pack, plan
from cluster.engine.prefix_cache import PromptCache
from cluster.engine.tuning import tune
from cluster.types import Encoding, Numerics

ONE_BY_ONE = "one by one"
"""Part of the names of the contenders that the others are compared with."""

Unit = Callable[[], None]
Units = Callable[[Sequence[Encoding]], Iterator[tuple[Unit, Sequence[Encoding]]]]


@dataclass(frozen=True)
class Baseline:
    """A contender.

    units: yields callables that together score the encodings, each with those that it covers.
    reset: clears what earlier rounds left behind, such as kept prompts.  streams: takes part in the
    streaming workload, where responses arrive one by one.  calls: takes part in workloads that are
    scored in one call.
    """

    name: str
    units: Units
    reset: Callable[[], None] = lambda: None
    streams: bool = False
    calls: bool = True


def contenders(module: Any, token_budget: int, longest: int = 0) -> list[Baseline]:
    """All contenders over the weights of `module`, which has the checkpoint's dtype.

    Those whose names do not start with `engine` are plain transformers.

    token_budget: unique tokens per forward.  longest: tokens of the longest chat, for which the
    engine is tuned too if it exceeds the budget.
    """
    device = module.score.weight.device
    config = EngineConfig()
    plain = _twin(module)
    found = [
        Baseline(f"{ONE_BY_ONE} (the card's pipeline)", _padded(plain, 1, False), streams=True)
    ]
    if compute_dtype(config, device) is not module.dtype:
        wide = _twin(module).float()
        found.append(Baseline(f"{ONE_BY_ONE}, float32", _padded(wide, 1, False), streams=True))
    for size in (8, 32):
        for by_length in (False, True):
            name = f"padded batches of {size}{', sorted' if by_length else ''}"
            found.append(Baseline(name, _padded(plain, size, by_length)))
    for numerics in get_args(Numerics):
        found.append(_packed(f"engine, {numerics}", module, numerics, token_budget, longest))
        if numerics != "reference":
            name = f"engine, {numerics}, no prompt kept"
            keeps_none = _packed(name, module, numerics, token_budget, longest, prompt_cache_mib=0)
            found.append(replace(keeps_none, calls=False))
    if device.type == "cuda":
        name = "engine, fast, sharing off"
        found.append(_packed(name, module, "fast", token_budget, longest, min_shared_tokens=2**30))
    return found


def _twin(module: Any) -> Any:
    """A copy with a config of its own and transformers' default attention."""
    twin = copy.deepcopy(module)
    twin.set_attn_implementation("sdpa")
    return twin


def _padded(module: Any, size: int, by_length: bool) -> Units:
    """Batches of `size` as transformers users write them: right padding and an attention mask."""

    def units(encodings: Sequence[Encoding]) -> Iterator[tuple[Unit, Sequence[Encoding]]]:
        order = sorted(encodings, key=lambda e: e.n_tokens) if by_length else list(encodings)
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        for batch in _middle_first(batches) if by_length else batches:
            yield partial(_padded_forward, module, batch), batch

    return units


def _middle_first(batches: list[list[Encoding]]) -> list[list[Encoding]]:
    """From the middle outwards, so that a time-boxed sample of sorted batches has typical
    lengths."""
    middle = len(batches) // 2
    order = sorted(range(len(batches)), key=lambda i: abs(i - middle))
    return [batches[i] for i in order]


def _padded_forward(module: Any, batch: Sequence[Encoding]) -> None:
    longest = max(e.n_tokens for e in batch)
    ids = torch.full((len(batch), longest), module.config.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, encoding in enumerate(batch):
        ids[row, : encoding.n_tokens] = torch.from_numpy(encoding.input_ids)
        mask[row, : encoding.n_tokens] = 1
    device = module.score.weight.device
    module(
        input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
    ).logits.tolist()


def _packed(
    name: str, module: Any, numerics: Numerics, token_budget: int, longest: int, **settings: Any
) -> Baseline:
    """This engine: in `reference` one sequence per unit, otherwise the workload as a whole."""
    config = EngineConfig(numerics=numerics, token_budget=token_budget, **settings)
    model = packed_model(module, numerics, max(token_budget, longest))
    prompts = PromptCache(prompt_cache_bytes(config, model.device))
    shared = config.min_shared_tokens

    def score(encodings: Sequence[Encoding]) -> None:
        known = prompts.lengths(encodings) if prompts.max_bytes else None
        for group in plan(encodings, numerics, token_budget, shared, known):
            part = [encodings[i] for i in group]
            batch = pack(part, numerics, shared, prompts.lengths(part))
            forward = prompts.begin(batch, part)
            model(batch, forward.wrap).tolist()
            prompts.end(forward)

    def units(encodings: Sequence[Encoding]) -> Iterator[tuple[Unit, Sequence[Encoding]]]:
        parts = [[e] for e in encodings] if numerics == "reference" else [list(encodings)]
        for part in parts:
            yield partial(score, part), part

    return Baseline(name, units, prompts.clear, streams=numerics != "reference")


def packed_model(module: Any, numerics: Numerics, largest_forward: int) -> PackedRewardModel:
    """The engine's model with a copy of the weights, in the arithmetic that the engine chooses.

    largest_forward: tokens of the largest forward that the model is tuned for.
    """
    config = EngineConfig(numerics=numerics)
    dtype = compute_dtype(config, module.score.weight.device)
    twin = copy.deepcopy(module).to(dtype)
    model = PackedRewardModel(twin, numerics, checkpoint_dtype=module.dtype)
    tune(model, largest_forward)
    return model
