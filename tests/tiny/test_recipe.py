"""The recipe of `tiny`: the same bytes each time; and what it promises of the shipped file.

The whole recipe reproduces the shipped file on the machine that made it:
`reward-cluster train --preset tiny --out out/tiny && cmp out/tiny/model.safetensors
cluster/assets/tiny/model.safetensors`. Here it is cut to a few steps.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.config import EngineConfig
from cluster.engine.checkpoint import locate
from cluster.engine.engine import Engine
from cluster.rlhf.synthetic.preferences import groups, of_each
from cluster.tiny.recipe import STAGES, Recipe, make
from cluster.types import Encoding, Message, Score

SHORT = Recipe(
    stages=tuple(replace(stage, n_groups=dict.fromkeys(stage.n_groups, 12)) for stage in STAGES),
    held_out_groups=1,
    vocab_size=400,
    training=replace(Recipe().training, max_steps=3),
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
def test_two_runs_write_the_same_bytes_and_another_seed_writes_others(tmp_path: Path) -> None:
    first, again, other = (
        hashes(make(recipe, tmp_path / name, lambda _: None, lambda _: None).folder)
        for name, recipe in (("a", SHORT), ("b", SHORT), ("c", replace(SHORT, seed=1)))
    )
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(first)
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]


def test_the_shipped_folder_fits_in_three_megabytes() -> None:
    assert sum(p.stat().st_size for p in Path(locate("tiny")).iterdir()) <= 3_000_000


def test_the_shipped_model_is_right_on_nine_of_ten_held_out_pairs(engine: Engine) -> None:
    sample = list(groups("held_out", of_each(12), seed=7))
    chats = [(list(group.prompt), response) for group in sample for response in group.responses]
    found = iter(rewards(engine, chats))
    right: list[bool] = []
    for group in sample:
        of_group = [next(found) for _ in group.responses]
        right += [of_group[a] > of_group[b] for a, b in group.pairs()]
    assert len(right) > 500
    assert sum(right) / len(right) >= 0.9


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
