"""Architecture matrix: how each variant is scored in each dtype and numerics, held to transformers.

Every outcome is checked as it is found: rewards against the model's own forward in float32, as
close as rounding in the dtype allows; in `reference` bit by bit; in `invariant` the same bits alone
and in any batch, with a prompt computed and with it kept. So a cell of the table is a proven one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from support.architecture_variants import VARIANTS
from support.architectures import chats, plain_rewards, save_random

from cluster.config import Dtype, EngineConfig
from cluster.engine.batch import Batch
from cluster.engine.engine import Engine
from cluster.engine.prefix_cache import CachedForward
from cluster.errors import ModelRefused
from cluster.types import Encoding, Numerics, Score

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")
PACKED: tuple[Numerics, ...] = ("invariant", "fast")
THREADS = 1
"""Of the page: matrices this small only wait for a second one."""
LONGEST = 120
"""Tokens of the longest chat, where the model takes as many."""
FLOAT32_NOISE = 3e-5
"""Of the rewards' spread, or of 1."""
BFLOAT16_NOISE = 2.0**-7
TITLES = "model", "float32", "bfloat16", "prompts kept", "why not packed, or refused"


@dataclass(frozen=True)
class Outcome:
    """forward: `packed`, `alone` (packed, but one chat a forward), `own` or `refused`.

    kept: whether prompts are kept between batches. why: not packed, or refused.
    """

    forward: str
    kept: bool = False
    why: str = ""


@dataclass(frozen=True)
class Truth:
    """Rewards of transformers, one chat at a time. noise: how far from `exact` rounding may end."""

    own: list[float]
    exact: np.ndarray
    noise: float


def row(name: str) -> tuple[str, ...]:
    """Cells of the table: TITLES. Raises AssertionError where a reward or a bit is wrong."""
    with TemporaryDirectory() as folder:
        path = save_random(Path(folder), *VARIANTS[name])
        found = {dtype: outcomes(path, dtype) for dtype in DTYPES}
    everything = [one for cell in found.values() for one in cell]
    kept = {one.kept for one in everything if one.forward == "packed"}
    return (
        name,
        *(_cell(found[dtype]) for dtype in DTYPES),
        "" if not kept else "yes" if kept == {True} else "no",
        next((one.why for one in everything if one.why), ""),
    )


def outcomes(path: Path, dtype: Dtype) -> list[Outcome]:
    """Of each of PACKED; `reference` is checked too where the model is served at all."""
    config = EngineConfig(model=str(path), dtype=dtype, max_tokens=LONGEST)
    try:
        reference = Engine.load(replace(config, numerics="reference"))
    except ModelRefused as error:
        return [Outcome("refused", why=_reason(error, path))]
    encodings = chats(reference.info.max_tokens)
    truth = _truth(path, dtype, encodings)
    assert _rewards(reference, encodings) == truth.own, "reference has other bits"
    found = []
    for numerics in PACKED:
        engine = Engine.load(replace(config, numerics=numerics, head_dtype="float32"))
        found.append(_checked(engine, encodings, truth))
    return found


def table_line(cells: Sequence[str]) -> str:
    """A row in Markdown."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _truth(path: Path, dtype: Dtype, encodings: Sequence[Encoding]) -> Truth:
    own = plain_rewards(path, encodings, getattr(torch, dtype))
    if dtype == "float32":
        return Truth(own, np.array(own), FLOAT32_NOISE * max(1.0, float(np.std(own))))
    exact = np.array(plain_rewards(path, encodings, getattr(torch, dtype), widened=True))
    apart = float(np.abs(exact - own).max())
    return Truth(own, exact, 2 * apart + BFLOAT16_NOISE * max(1.0, float(np.abs(exact).max())))


def _checked(engine: Engine, encodings: Sequence[Encoding], truth: Truth) -> Outcome:
    computed = n_computed(engine, encodings)
    rewards = _rewards(engine, encodings)
    again = _rewards(engine, encodings)  # prompts are kept by now, where they are at all
    for found in (rewards, again):
        apart = float(np.abs(np.array(found) - truth.exact).max())
        assert apart <= truth.noise, f"{apart:.2g} from transformers, allowed {truth.noise:.2g}"
    if engine.info.numerics == "invariant":
        backwards = _rewards(engine, encodings[::-1])[::-1]
        alone = [_rewards(engine, [encoding])[0] for encoding in encodings]
        assert rewards == again == backwards == alone, "bits follow the batch"
    shares = computed < sum(encoding.n_tokens for encoding in encodings)
    assert shares == (engine.info.forward == "packed"), "sharing"
    return Outcome(engine.info.forward, engine.prompts.max_bytes > 0, engine.info.not_packed)


def n_computed(engine: Engine, encodings: Sequence[Encoding]) -> int:
    """Tokens that go through the model for `encodings`."""
    sizes: list[int] = []
    original = engine.rewards

    def counted(batch: Batch, forward: CachedForward | None = None) -> list[float]:
        sizes.append(batch.n_unique_tokens)
        return original(batch, forward)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "rewards", counted)
        _rewards(engine, encodings)
    engine.prompts.clear()
    return sum(sizes)


def _rewards(engine: Engine, encodings: Sequence[Encoding]) -> list[float]:
    results = engine.score(encodings)
    assert [one for one in results if not isinstance(one, Score)] == []
    return [one.reward for one in results if isinstance(one, Score)]


def _cell(found: Sequence[Outcome]) -> str:
    ways = list(dict.fromkeys(one.forward for one in found))
    if len(ways) == 1:
        return ways[0]
    return ", ".join(f"{one.forward} in `{name}`" for one, name in zip(found, PACKED, strict=True))


def _reason(error: ModelRefused, path: Path) -> str:
    """The message on one line, without the folder of this run."""
    return " ".join(str(error).replace(str(path), "...").split())
