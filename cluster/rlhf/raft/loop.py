"""RAFT: keep the best of each prompt's samples and fine-tune on it.

Source: Dong et al. 2023 (arXiv 2304.06767), algorithm 1, as in LMFlow's raft_aligner (`local`):
a stage draws prompts and n responses to each from the current policy, and fine-tunes on the
response with the highest reward of each. Only the order of rewards matters. Left out: the paper's
optional KL term.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.data.groups import ResponseGroup
from cluster.rlhf.annotation.best_of_n import Picked, TopK
from cluster.rlhf.iteration.loop import Learn, Lesson
from cluster.rlhf.policy.model import Policy
from cluster.rlhf.policy.sft import fine_tune
from cluster.rlhf.raft.config import RaftConfig
from cluster.types import Chat


def best_of_n(config: RaftConfig) -> Learn:
    """Fine-tuning on the best responses; with `config.random` on randomly chosen ones."""

    def learn(
        policy: Policy, start: Callable[[], Policy], groups: Sequence[ResponseGroup], stage: int
    ) -> Lesson:
        seed = config.seed + stage
        picked = list(TopK(config.top_k, seed if config.random else None).pick(groups))
        if not picked:
            return Lesson((), ())
        losses = fine_tune(policy, list(map(_example, picked)), config.sft, seed)
        return Lesson(losses, [one.response for one in picked])

    return learn


def _example(picked: Picked) -> tuple[Chat, str]:
    return picked.group.prompt, picked.response.messages[0]["content"]
