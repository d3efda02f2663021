"""Iterative DPO: a preference pair among each prompt's samples, and DPO on the pairs.

Source: RLHFlow/Online-RLHF (Dong et al. 2024, arXiv 2405.07863): a stage draws prompts and n
responses to each from the current policy, pairs the best with the worst and trains the current
policy by DPO. The reference is the start of the run, as the paper argues for and as Online-RLHF had
it until 2c673b8, or the policy before the stage, as Online-RLHF has it since. DPO itself: Rafailov
et al. 2023 (arXiv 2305.18290), by TRL's DPOTrainer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from random import Random

from cluster.data.groups import ResponseGroup
from cluster.rlhf.annotation.dpo_pairs import PairRule, Preference, choose_pair, dpo_row
from cluster.rlhf.dpo.config import DpoConfig
from cluster.rlhf.dpo.trainer import fit_preferences
from cluster.rlhf.iteration.loop import Learn, Lesson
from cluster.rlhf.policy.model import Policy


def preferences(config: DpoConfig) -> Learn:
    """DPO on one pair per prompt; with `config.random` on pairs in random order."""
    rule = PairRule(config.method, config.length_penalty, config.seed)

    def learn(
        policy: Policy, start: Callable[[], Policy], groups: Sequence[ResponseGroup], stage: int
    ) -> Lesson:
        found = [choose_pair(group, rule) for group in groups]
        pairs = [pair for pair in found if isinstance(pair, Preference)]
        if not pairs:
            return Lesson((), ())
        seed = config.seed + stage
        if config.random:
            pairs = [_blind(pair, seed) for pair in pairs]
        reference = start() if config.reference == "start" else _copy(policy)
        losses = fit_preferences(policy, reference, list(map(dpo_row, pairs)), config.dpo, seed)
        return Lesson(losses, [p.chosen for p in pairs], [p.rejected for p in pairs])

    return learn


def _blind(pair: Preference, seed: int) -> Preference:
    """The random control: the same two responses, the preferred one drawn at random."""
    if Random(f"{seed} {pair.group.number}").random() < 0.5:
        return pair
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen)


def _copy(policy: Policy) -> Policy:
    other = copy(policy)
    other.module = deepcopy(policy.module)
    return other
