"""Pretraining of `tiny`: the scalar head at every token of a damaged reply.

Replaced-token detection (ELECTRA, arXiv 2003.10555) with the damage of `spans`: the head's value at
a token says whether it is intact, at the end of the turn whether the whole reply is. Two more
heads, thrown away afterwards, ask for the comparison that all judging of topics rests on: half-way
up, whether a token was seen in the prompt or in the reply before; at the top, which share of the
reply was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, rms_norm

from cluster.rlhf.training.trainer import Schedule
from cluster.tiny.dialogues.reading import Dialogue
from cluster.tiny.dialogues.spans import labelled_reply
from cluster.tiny.dialogues.swapping import WordSwapper
from cluster.tiny.pretraining.labels import LabelledBatch, LabelledTokens, Labeller

POOL = 128
"""Replies that are drawn at a time and sorted by length, so that little is padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingConfig:
    """tokens_per_step: padding included.  swapped_share: of dialogues, see `WordSwapper`.
    recent_words: longest prompt.  end_weight: of an end of turn beside another token.
    shared_weight: of that question beside the others."""

    n_steps: int = 2200
    tokens_per_step: int = 2500
    lr: float = 2e-3
    swapped_share: float = 0.6
    recent_words: int = 80
    end_weight: float = 10.0
    shared_weight: float = 3.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.03
    warmup_ratio: float = 0.05
    min_lr_ratio: float = 0.02
    max_steps: int | None = None


def pretrain(
    module: Any,
    tokenizer: Any,
    dialogues: tuple[Dialogue, ...],
    config: PretrainingConfig,
    schedule: Schedule,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Train a LlamaForSequenceClassification in place, float32 on the CPU."""
    torch.manual_seed(seed)
    heads = _Heads(module.config.hidden_size)
    optimizer = torch.optim.AdamW(
        [*module.parameters(), *heads.parameters()],
        lr=config.lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )
    rows = _batches(tokenizer, dialogues, config, Random(seed))
    for step in range(min(config.n_steps, config.max_steps or config.n_steps)):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * schedule(step)
        loss, right = _loss(module, heads, next(rows), tokenizer.eos_token_id, config)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 250 == 0 or step + 1 == config.n_steps:
            say(f"tokens {step + 1}/{config.n_steps}  loss {loss:.3f}  accuracy {right:.3f}")


class _Heads(nn.Module):
    """The questions that are dropped after pretraining."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen = nn.Linear(width, 2)
        self.shared = nn.Linear(width, 1)


def _loss(
    module: Any, heads: _Heads, batch: LabelledBatch, end: int, config: PretrainingConfig
) -> tuple[Tensor, float]:
    """Loss of a batch, and the share of its tokens that are told rightly.

    Attention is causal and padding is on the right, so nothing needs a mask.
    """
    out = module.model(input_ids=batch.ids_BT, use_cache=False, output_hidden_states=True)
    asked = batch.intact_BT >= 0
    top, wanted = out.last_hidden_state[asked], batch.intact_BT[asked].float()
    weights = torch.where(batch.ids_BT[asked] == end, config.end_weight, 1.0)
    weights /= weights.sum()
    logits = module.score(top)[:, 0]
    intact = binary_cross_entropy_with_logits(logits, wanted, weights, reduction="sum")
    shared = binary_cross_entropy_with_logits(
        heads.shared(top)[:, 0], batch.shared_BT[asked], weights, reduction="sum"
    )
    half = out.hidden_states[module.config.num_hidden_layers // 2]
    is_seen = batch.seen_BT2[..., 0] >= 0
    answers = heads.seen(rms_norm(half, half.shape[-1:]))[is_seen]
    seen = binary_cross_entropy_with_logits(answers, batch.seen_BT2[is_seen].float())
    right = ((logits > 0) == (wanted > 0)).float().mean()
    return intact + seen + config.shared_weight * shared, float(right)


def _batches(
    tokenizer: Any, dialogues: tuple[Dialogue, ...], config: PretrainingConfig, rng: Random
) -> Iterator[LabelledBatch]:
    """Batches without end, of rows of about one length."""
    labeller, swapper = Labeller(tokenizer, dialogues), WordSwapper(dialogues)
    while True:
        drawn = [_draw(labeller, swapper, dialogues, config, rng) for _ in range(POOL)]
        cut = list(_cut(sorted(drawn, key=lambda row: len(row.ids)), config.tokens_per_step))
        rng.shuffle(cut)
        for rows in cut:
            yield LabelledBatch.of(rows, tokenizer.pad_token_id)


def _draw(
    labeller: Labeller,
    swapper: WordSwapper,
    dialogues: tuple[Dialogue, ...],
    config: PretrainingConfig,
    rng: Random,
) -> LabelledTokens:
    dialogue, other = rng.choice(dialogues).recent(config.recent_words), rng.choice(dialogues)
    if rng.random() < config.swapped_share:
        dialogue, other = swapper.swapped(rng, dialogue), swapper.swapped(rng, other)
    return labeller.label(dialogue.prompt, labelled_reply(rng, dialogue, other))


def _cut(rows: list[LabelledTokens], budget: int) -> Iterator[list[LabelledTokens]]:
    """`rows`, shortest first, in runs that take at most `budget` tokens once padded."""
    run: list[LabelledTokens] = []
    for row in rows:
        if run and (len(run) + 1) * len(row.ids) > budget:
            yield run
            run = []
        run.append(row)
    yield run
