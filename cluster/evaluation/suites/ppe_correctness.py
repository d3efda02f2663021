"""PPE correctness: many answers of one model to a question, each checked right or wrong.

- accuracy: of the pairs of a right and a wrong answer that the row itself lists, those whose right
  answer has the higher reward (a tie is wrong): the mean over a benchmark's rows. The score is the
  plain mean of the five benchmarks.
- auc: area under the ROC curve of right against wrong over all answers of a benchmark, each row's
  rewards scaled to [0, 1] first.
- best-of-k curve: how often the answer with the highest reward among k random ones is right. Its
  maximum and its end over k = 1..n, and its loss, the mean squared distance to the curve of an
  oracle. PPE averages random orders; here the expectation over all orders is computed in closed
  form, a tie going to each of its answers with the same chance.

Source: lmarena/PPE (data lmarena-ai/PPE-MMLU-Pro-Best-of-K, -MATH-, -GPQA-, -IFEval-,
-MBPP-Plus-); Frick et al. 2024 (arXiv 2410.14872). Columns: question_id, model_name, prompt,
response_1 .. response_n, scores (truth by answer), sampled_conflict_pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.data.jsonl import Row
from cluster.errors import InvalidInput
from cluster.evaluation.dataset import stem
from cluster.evaluation.row_fields import need, replies
from cluster.evaluation.suite import Suite, grouped
from cluster.evaluation.types import Item, Judged, LeftOut, SourcedRow, Table

BENCHMARKS = {
    "mmlu": "MMLU Pro",
    "math": "MATH",
    "gpqa": "GPQA",
    "ifeval": "IFEval",
    "mbpp": "MBPP Plus",
}
"""Part of a data set's name -> published column."""


class PPECorrectness(Suite):
    """Verifiable correctness, as pairs and as best of k."""

    name = "ppe-correctness"
    title = "PPE correctness"
    score_name = "mean accuracy"

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return {"prompt", "response_1", "scores", "sampled_conflict_pairs"} <= row.keys()

    def item(self, sourced: SourcedRow, row: Row) -> Item | LeftOut:
        value = row.value
        named = {name: value[name] for name in _responses(value)}
        truth = need(value, "scores")
        if not isinstance(truth, list) or len(truth) != len(named):
            raise InvalidInput(f"`scores` must be a list of {len(named)}, one for each response")
        worth = tuple(float(one) for one in truth)
        pairs = tuple(_ordered(pair, worth) for pair in need(value, "sampled_conflict_pairs"))
        if not pairs:
            return LeftOut(sourced.source, row.number, "it lists no conflict pair")
        return Item(
            sourced.source,
            row.number,
            str(value.get("question_id", "")),
            _benchmark(sourced),
            replies(need(value, "prompt"), named),
            worth,
            pairs,
        )

    def stratum(self, item: Item) -> str | None:
        return item.subset if item.subset in BENCHMARKS.values() else None

    def columns(
        self, judged: Sequence[Judged], strata: Mapping[str, float]
    ) -> dict[str, float | None]:
        return {name: strata.get(name) for name in BENCHMARKS.values()}

    def tables(self, judged: Sequence[Judged]) -> dict[str, Table]:
        found = grouped(judged, lambda one: one.item.subset)
        return {"best of k": {name: _best_of_k(ones) for name, ones in found.items()}}


def best_of_k(rewards: Sequence[float], truth: Sequence[float]) -> npt.NDArray[np.float64]:
    """[n]: the expected truth of the highest reward among k of n random answers, k = 1..n."""
    n = len(rewards)
    curve = np.zeros(n)
    above = 0
    for level in sorted(set(rewards), reverse=True):
        worth = [t for reward, t in zip(rewards, truth, strict=True) if reward == level]
        below = n - above
        first = [comb(below, k) - comb(below - len(worth), k) for k in range(1, n + 1)]
        total = [comb(n, k) for k in range(1, n + 1)]
        curve += np.array([f / t for f, t in zip(first, total, strict=True)]) * np.mean(worth)
        above += len(worth)
    return curve


def auc(judged: Sequence[Judged]) -> float | None:
    """Of right against wrong over all answers; None if only one kind is there."""
    scaled = np.concatenate([_scaled(one.rewards) for one in judged])
    truth = np.concatenate([one.item.truth for one in judged]) > 0.5
    right, wrong = scaled[truth], np.sort(scaled[~truth])
    if not len(right) or not len(wrong):
        return None
    below, up_to = (np.searchsorted(wrong, right, side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(wrong))


def _best_of_k(judged: Sequence[Judged]) -> dict[str, float | None]:
    sizes = {len(one.rewards) for one in judged}
    found: dict[str, float | None] = {"auc": auc(judged)}
    if len(sizes) > 1:  # curves of other lengths have no mean
        return found | dict.fromkeys(("max", "end", "loss"))
    chosen = np.mean([best_of_k(one.rewards, one.item.truth) for one in judged], axis=0)
    oracle = np.mean([best_of_k(one.item.truth, one.item.truth) for one in judged], axis=0)
    loss = float(((oracle - chosen) ** 2).mean())
    return found | {"max": float(chosen.max()), "end": float(chosen[-1]), "loss": loss}


def _scaled(rewards: Sequence[float]) -> npt.NDArray[np.float64]:
    values = np.array(rewards, np.float64)
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread else np.full(len(values), 0.5)


def _responses(row: Mapping[str, Any]) -> list[str]:
    names: list[str] = []
    for number in count(1):
        if f"response_{number}" not in row:
            break
        names.append(f"response_{number}")
    if len(names) < 2:
        raise InvalidInput("`response_1` and `response_2` are missing")
    return names


def _ordered(pair: Any, truth: Sequence[float]) -> tuple[int, int]:
    """(right, wrong). Raises InvalidInput where it is no conflict."""
    try:
        i, j = (int(one) for one in pair)
        if min(i, j) >= 0 and truth[i] != truth[j]:
            return (i, j) if truth[i] > truth[j] else (j, i)
    except (TypeError, ValueError, IndexError):
        pass
    raise InvalidInput(f"`sampled_conflict_pairs` has {pair!r:.40}, no right and wrong response")


def _benchmark(sourced: SourcedRow) -> str:
    """By the data set's or the file's name; the bare name where it is none of the five."""
    place = "/".join(Path(sourced.path).parts[-2:]).lower()
    return next((name for part, name in BENCHMARKS.items() if part in place), stem(sourced))
