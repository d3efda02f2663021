"""Generated policy: small enough to try recipes with; answers like the generated preferences.

It imitates good and bad responses alike, so that a reward has something to choose from. The body
starts from `tiny`'s, the head is new.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import torch

from cluster.engine.checkpoint import locate
from cluster.rlhf.policy.config import SftConfig
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.policy.sft import Example, fine_tune
from cluster.rlhf.synthetic.preferences import Split, groups, of_each
from cluster.types import Chat


def make_policy(
    seed: int = 0, groups_a_kind: int = 125, epochs: int = 2, lr: float = 1e-3
) -> Policy:
    """A new tiny policy."""
    policy = _untrained(seed)
    fine_tune(policy, _examples(groups_a_kind, seed), SftConfig(lr=lr, epochs=epochs), seed)
    return policy


def prompts(split: Split, number: int, seed: int) -> list[Chat]:
    """`number` prompts of generated preferences, all kinds in turn."""
    each = -(-number // len(of_each(1)))
    found: list[Chat] = [group.prompt for group in groups(split, of_each(each), seed)]
    Random(seed).shuffle(found)
    return found[:number]


def _examples(groups_a_kind: int, seed: int) -> list[Example]:
    random = Random(seed)
    return [
        (group.prompt, random.choice(group.responses))
        for group in groups("train", of_each(groups_a_kind), seed)
    ]


def _untrained(seed: int) -> Policy:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
    )

    folder = Path(locate("tiny"))
    judge: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    config: Any = LlamaConfig.from_pretrained(folder)
    config.architectures, config.dtype, config.use_cache = None, torch.float32, True
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module: Any = LlamaForCausalLM(config)
    module.model.load_state_dict(judge.model.state_dict())
    return Policy(module, AutoTokenizer.from_pretrained(folder))
