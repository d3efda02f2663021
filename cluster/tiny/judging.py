"""What `tiny` is judged by: pairs it never saw, generated and real, kind by kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.engine import Engine
from cluster.rlhf.synthetic.preferences import KINDS, GradedGroup, groups, of_each
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.metrics import ScoredPairs, accuracy, accuracy_by_kind
from cluster.rlhf.training.pairs import Pair
from cluster.tiny.dialogues.damage import DAMAGE, damaged_groups
from cluster.tiny.dialogues.reading import Dialogue
from cluster.types import Encoding, Score


def held_out_groups(
    dialogues: Sequence[Dialogue], n_each: int, n_dialogues: int, seed: int
) -> list[GradedGroup]:
    """`n_each` groups of every generated kind, and every damage of `n_dialogues` dialogues."""
    rng = Random(seed)
    found = list(groups("held_out", of_each(n_each), seed))
    for dialogue in rng.sample(dialogues, min(n_dialogues, len(dialogues))):
        found += damaged_groups(rng, "held_out", dialogue, dialogues, list(DAMAGE))
    return found


def encode_pairs(encoder: ChatEncoder, wanted: Iterable[GradedGroup]) -> list[Pair]:
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


def judge_folder(folder: Path, config: TrainConfig, pairs: list[Pair]) -> list[ScoredPairs]:
    """The written file's rewards of `pairs`: what a user of the file will see."""
    engine = Engine.load(EngineConfig(model=str(folder), device="cpu", numerics=config.numerics))
    sides = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    rewards = [score.reward for score in engine.score(sides) if isinstance(score, Score)]
    both = zip(pairs, rewards[: len(pairs)], rewards[len(pairs) :], strict=True)
    return [ScoredPairs(*values) for values in both]


def generated_and_real(
    judged: Sequence[ScoredPairs],
) -> tuple[list[ScoredPairs], list[ScoredPairs]]:
    """The judged pairs of generated chats and those of real dialogues."""
    generated = [result for result in judged if result.pair.kind in KINDS]
    return generated, [result for result in judged if result.pair.kind in DAMAGE]


def summary(judged: list[ScoredPairs]) -> str:
    """Accuracy on held-out pairs, overall and by kind, in one line."""
    kinds = ", ".join(f"{kind} {share:.2f}" for kind, share in accuracy_by_kind(judged).items())
    return f"held out: {accuracy(judged):.3f} ({kinds})"
