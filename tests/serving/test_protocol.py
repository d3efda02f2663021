from __future__ import annotations

import pickle

import numpy as np
import pytest

from cluster.errors import NotFinite, Overloaded, RewardError
from cluster.serving.protocol import BatchResult
from cluster.types import Encoding, Score


def score(reward: float, revision: str = "r1") -> Score:
    return Score(reward, 3, 1, False, 0.5, 0.25, "m", revision, "invariant")


def encodings(n: int) -> list[Encoding]:
    return [Encoding(np.arange(3, dtype=np.int32), 1, 1, False) for _ in range(n)]


def test_scores_survive_the_flat_form_and_a_pickle() -> None:
    scores: list[Score | RewardError] = [score(1.5), score(-0.1, "r2"), score(0.1 + 0.2)]
    result = pickle.loads(pickle.dumps(BatchResult.from_scores(scores)))
    assert result.scores(encodings(3)) == scores


def test_an_error_is_a_nan_with_a_reason_never_a_number() -> None:
    result = BatchResult.from_scores([score(1.0), NotFinite("NaN", 0), score(2.0)])
    assert np.isnan(result.rewards_N).tolist() == [False, True, False]
    back = result.scores(encodings(3))[1]
    assert isinstance(back, NotFinite)
    assert back.item == 1, "renumbered to its place in this call"


def test_an_error_keeps_its_own_fields() -> None:
    result = BatchResult.from_items([Overloaded("full", retry_after_s=3.0)])
    error = pickle.loads(pickle.dumps(result)).errors[0]
    assert (error.retry_after_s, error.item) == (3.0, 0)


def test_the_empty_call_has_the_empty_answer() -> None:
    assert BatchResult.from_items([]).scores([]) == []


def test_an_answer_of_another_length_than_its_question_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        BatchResult.from_scores([score(1.0)]).scores(encodings(2))
