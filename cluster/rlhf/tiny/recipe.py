"""How `tiny` is made: preferences, tokenizer, Bradley-Terry training, held-out accuracy, files.

Invariant: the same recipe on the same machine writes the same bytes: everything follows from
`Recipe.seed`, and with one thread every sum has one order.
Held-out pairs come from values that training never saw (see `preferences.groups`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from random import Random

import torch

from cluster.config import EngineConfig
from cluster.engine.chat import ChatEncoder
from cluster.engine.model import PackedRewardModel
from cluster.rlhf.tiny.model import MAX_TOKENS, save_untrained
from cluster.rlhf.tiny.preferences import Group, groups
from cluster.rlhf.tiny.tokenizer import train_tokenizer
from cluster.rlhf.train import Judged, OnStep, judge, load_for_training, train
from cluster.rlhf.train_config import TrainConfig
from cluster.rlhf.train_data import Pair
from cluster.rlhf.train_run import save
from cluster.types import Encoding

TOKENIZER_GROUPS = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the file. threads: the last bits of a sum depend on how it is divided; matrices
    this small gain little from a second one."""

    seed: int = 0
    train_groups: int = 1000
    """Groups of a kind of weight 1; see `preferences.WEIGHTS`."""
    held_out_groups: int = 100
    """Groups of each kind."""
    vocab_size: int = 1024
    threads: int = 1
    training: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            device="cpu",
            mixed_precision="no",
            numerics="invariant",
            epochs=1,
            pairs_per_step=64,
            lr=2e-3,
            final_lr=0.02,
            warmup=0.05,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            centring=0.001,
            max_tokens=None,
            truncate="error",
        )
    )


@dataclass(frozen=True, slots=True)
class Made:
    """What came out: the folder, and both rewards of every held-out pair."""

    folder: Path
    held_out: list[Judged]


def make(recipe: Recipe, folder: Path, on_step: OnStep, say: Callable[[str], None]) -> Made:
    """Train `tiny` and write it to `folder`, which is replaced only once all is ready."""
    with _threads(recipe.threads), tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch)
        train_groups = list(groups("train", recipe.train_groups, recipe.seed))
        Random(recipe.seed).shuffle(train_groups)
        tokenizer = train_tokenizer(
            _texts(train_groups[:TOKENIZER_GROUPS]), recipe.vocab_size, MAX_TOKENS
        )
        save_untrained(tokenizer, start, recipe.seed)
        encoder = ChatEncoder.load(EngineConfig(model=str(start)))
        pairs = encode_pairs(encoder, train_groups)
        say(f"{len(train_groups)} groups, {len(pairs)} pairs; {len(tokenizer)} tokens")
        config = replace(recipe.training, model=str(start))
        trainer = train(load_for_training(config), pairs, config, on_step)
        save(trainer, tokenizer, folder, torch.bfloat16)
        say(f"wrote {folder}")
        held_out = encode_pairs(encoder, groups("held_out", recipe.held_out_groups, recipe.seed))
        return Made(folder, judge_folder(folder, config, held_out))


def encode_pairs(encoder: ChatEncoder, wanted: Iterable[Group]) -> list[Pair]:
    """Every pair of different grade of every group."""
    wanted = list(wanted)
    chats = [(group.prompt, response) for group in wanted for response in group.responses]
    encoded = iter(encoder.encode_all(chats))
    pairs: list[Pair] = []
    for group in wanted:
        sides: list[Encoding] = []
        for _ in group.responses:
            side = next(encoded)
            assert isinstance(side, Encoding), side
            sides.append(side)
        pairs += [Pair(sides[a], sides[b], kind=group.kind) for a, b in group.pairs()]
    return pairs


def judge_folder(folder: Path, config: TrainConfig, pairs: list[Pair]) -> list[Judged]:
    """The written file's rewards of `pairs`: what a user of the file will see."""
    written = EngineConfig(model=str(folder), device="cpu", numerics=config.numerics)
    return judge(PackedRewardModel.load(written), pairs, config)


def _texts(wanted: Iterable[Group]) -> Iterator[str]:
    """What the tokenizer learns from."""
    for group in wanted:
        contents = (message["content"] for message in group.prompt)
        roles = (message["role"] for message in group.prompt)
        yield from chain(roles, contents, group.responses)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
