"""The recipe of `tiny`: the same bytes each time; and what it promises of the shipped file.

The whole recipe reproduces the shipped file on the machine that made it:
`reward-cluster train --preset tiny --texts FILE --out out/tiny && cmp out/tiny/model.safetensors
cluster/assets/tiny/model.safetensors`. Here it is cut to a few steps.
"""

import hashlib
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from support.dialogues import HH_RLHF, write_dialogues

from cluster.config import EngineConfig
from cluster.demo.chats import packaged_chats, read_demo_groups
from cluster.engine.checkpoint import locate
from cluster.engine.engine import Engine
from cluster.rlhf.synthetic.preferences import KINDS, GradedGroup, groups, of_each
from cluster.tiny.dialogues.damage import DAMAGE
from cluster.tiny.dialogues.reading import read_dialogues
from cluster.tiny.judging import held_out_groups
from cluster.tiny.recipe import Recipe, make
from cluster.types import Encoding, Message, Score


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The recipe on generated dialogues, a few steps of each part."""
    whole = Recipe(texts=write_dialogues(tmp_path_factory.mktemp("texts") / "rows.jsonl"))
    few = dict.fromkeys(KINDS, 12)
    return replace(
        whole,
        stages=tuple(
            replace(stage, n_groups=few, dialogue_passes=0, everyday_passes=0)
            for stage in whole.stages
        ),
        held_out_groups=1,
        held_out_dialogues=3,
        vocab_size=400,
        training=replace(whole.training, max_steps=3),
        pretraining=replace(whole.pretraining, max_steps=2),
    )


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(EngineConfig(model="tiny", device="cpu", numerics="fast"))


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def rewards(engine: Engine, chats: list[tuple[list[Message], str]]) -> list[float]:
    encodings = [e for e in engine.encoder.encode_all(chats) if isinstance(e, Encoding)]
    scores = [s for s in engine.score(encodings) if isinstance(s, Score)]
    assert len(scores) == len(chats)
    return [score.reward for score in scores]


@pytest.mark.slow
def test_two_runs_write_the_same_bytes_and_another_seed_writes_others(
    tmp_path: Path, short: Recipe
) -> None:
    first, again, other = (
        hashes(make(recipe, tmp_path / name, lambda _: None, lambda _: None).folder)
        for name, recipe in (("a", short), ("b", short), ("c", replace(short, seed=1)))
    )
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(first)
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]


def test_the_shipped_folder_fits_in_three_megabytes() -> None:
    assert sum(p.stat().st_size for p in Path(locate("tiny")).iterdir()) <= 3_000_000


def right_by_kind(engine: Engine, sample: list[GradedGroup]) -> dict[str, list[bool]]:
    """Whether each pair of the groups is told rightly."""
    chats = [(list(group.prompt), response) for group in sample for response in group.responses]
    found = iter(rewards(engine, chats))
    right: dict[str, list[bool]] = {}
    for group in sample:
        of_group = [next(found) for _ in group.responses]
        told = [of_group[a] > of_group[b] for a, b in group.pairs()]
        right.setdefault(group.kind, []).extend(told)
    return right


def test_the_shipped_model_is_right_on_nine_of_ten_held_out_pairs(engine: Engine) -> None:
    sample = list(groups("held_out", of_each(12), seed=7))
    right = list(chain.from_iterable(right_by_kind(engine, sample).values()))
    assert len(right) > 500
    assert sum(right) / len(right) >= 0.9


def test_the_shipped_model_sees_plain_damage_to_real_replies(
    engine: Engine, shared_data: Path
) -> None:
    dialogues = read_dialogues(shared_data / HH_RLHF).judging
    right = right_by_kind(engine, held_out_groups(dialogues, 0, 200, seed=7))
    shares = {kind: sum(told) / len(told) for kind, told in right.items()}
    assert set(shares) == set(DAMAGE)
    assert min(shares.values()) >= 0.75
    told = list(chain.from_iterable(right.values()))
    assert sum(told) / len(told) >= 0.85


def test_the_shipped_model_chooses_as_a_person_would_in_eight_demo_chats_of_ten(
    engine: Engine,
) -> None:
    groups = list(read_demo_groups(packaged_chats()))
    chats = [(list(prompt), text) for group in groups for prompt, text in group.conversations]
    found = iter(rewards(engine, chats))
    chosen = []
    for group in groups:
        of_group = [next(found) for _ in group.responses]
        chosen.append(of_group.index(max(of_group)))
    same = [best == group.person for best, group in zip(chosen, groups, strict=True)]
    assert len(same) == 10
    assert sum(same) >= 8


def test_the_shipped_model_takes_long_chats(engine: Engine) -> None:
    prompt: list[Message] = [{"role": "user", "content": "Tell me more. " * 1000}]
    short, long = rewards(engine, [([{"role": "user", "content": "Hi"}], "No."), (prompt, "No.")])
    assert short != long


def test_the_shipped_config_cannot_pool_the_wrong_token(engine: Engine) -> None:
    config = engine.model.module.config
    assert config.pad_token_id != config.eos_token_id
    assert config.num_labels == 1
    assert config.max_position_embeddings == 8192
    assert config.num_key_value_heads < config.num_attention_heads
