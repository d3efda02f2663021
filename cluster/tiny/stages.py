"""The curriculum of `tiny` after its pretraining: which preferences, how many, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

from cluster.rlhf.synthetic.preferences import GradedGroup, groups
from cluster.tiny.dialogues.damage import damaged_groups
from cluster.tiny.dialogues.reading import Dialogue
from cluster.tiny.dialogues.swapping import WordSwapper

ALWAYS = ("another_dialogue",)
SOMETIMES = ("insult", "shuffled", "cut", "repeated", "other_language")
EMPTY_SHARE = 0.1
RECENT_WORDS = 110
SWAPPED_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the curriculum, with a learning-rate schedule of its own.

    n_groups: how many of each kind of generated preference, the hard kinds more.
    dialogue_passes: how often each real dialogue comes, damaged otherwise each time.
    more_strangers: further replies of other dialogues that a real one is compared with.
    """

    n_groups: Mapping[str, int]
    dialogue_passes: int
    pairs_per_step: int
    lr: float
    more_strangers: int = 0


STAGES = (
    Stage(
        n_groups={
            "addition": 3500,
            "subtraction": 3500,
            "multiplication": 3500,
            "letter_case": 1000,
            "list_length": 1500,
            "one_word": 600,
            "sentence_count": 1200,
            "repeat": 1000,
            "mention": 1500,
            "address": 1000,
            "politeness": 700,
            "on_topic": 2400,
            "memory": 2000,
            "fluency": 1000,
        },
        dialogue_passes=4,
        pairs_per_step=96,
        lr=1.5e-3,
    ),
    # Which reply belongs to which dialogue is the faintest of all signs: among the others it is
    # drowned, so it gets a stage of its own, with enough of the rest not to lose it.
    Stage(
        n_groups={
            "addition": 500,
            "subtraction": 500,
            "multiplication": 900,
            "letter_case": 200,
            "list_length": 250,
            "one_word": 80,
            "sentence_count": 150,
            "repeat": 80,
            "mention": 150,
            "address": 80,
            "politeness": 80,
            "on_topic": 350,
            "memory": 300,
            "fluency": 120,
        },
        dialogue_passes=1,
        pairs_per_step=96,
        lr=8e-4,
        more_strangers=4,
    ),
)


def stage_groups(stage: Stage, dialogues: Sequence[Dialogue], seed: int) -> list[GradedGroup]:
    """A stage's groups in shuffled order; those of one real prompt stay neighbours."""
    rng = Random(seed)
    blocks = [[group] for group in groups("train", stage.n_groups, seed)]
    blocks += _of_dialogues(stage, dialogues, rng)
    rng.shuffle(blocks)
    return list(chain.from_iterable(blocks))


def _of_dialogues(
    stage: Stage, dialogues: Sequence[Dialogue], rng: Random
) -> Iterator[list[GradedGroup]]:
    swapper = WordSwapper(dialogues)
    for _ in range(stage.dialogue_passes):
        for dialogue in dialogues:
            recent, other = dialogue.recent(RECENT_WORDS), rng.choice(dialogues)
            swaps = rng.random() < SWAPPED_SHARE
            if swaps:
                recent, other = swapper.swapped(rng, recent), swapper.swapped(rng, other)
            kinds = [*ALWAYS, *rng.sample(SOMETIMES, 3)]
            kinds += ["empty"] if rng.random() < EMPTY_SHARE else []
            block = damaged_groups(rng, "train", recent, [other], kinds)
            for _ in range(stage.more_strangers):
                stranger = rng.choice(dialogues)
                stranger = swapper.swapped(rng, stranger) if swaps else stranger
                block += damaged_groups(rng, "train", recent, [stranger], ALWAYS)
            yield block
