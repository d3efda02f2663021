"""What is under way in a service: it decides how long a draining one lives on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import ray
from support.gate import Gate
from support.processes import actors, frozen, pid
from support.serving import until

from cluster.serving.client.connect import disconnect
from cluster.serving.deployment.draining import UnderWay, under_way

pytestmark = pytest.mark.ray


@pytest.fixture
def app(plain_app: str) -> Iterator[str]:
    """`plain_app`, without the client actor of this job afterwards, whose door is shut by then."""
    yield plain_app
    disconnect(plain_app)


def test_a_call_counts_until_it_is_answered(app: str, client: Any, gate: Gate) -> None:
    with gate.shut():
        held = gate.n_held
        ref = client.score.remote([np.array([211, 17, 93, 5], np.int32)])  # asked nowhere else
        until(lambda: gate.n_held > held)
        assert under_way([app]) == UnderWay(calls=1, tokens=4)
    ray.get(ref)
    until(lambda: not under_way([app]))


def test_a_batcher_that_does_not_answer_may_hold_work(app: str) -> None:
    (batcher,) = actors("Batcher", app).values()
    with frozen(pid(batcher)):
        assert under_way([app]).silent == ("Batcher",)
    until(lambda: not under_way([app]))


def test_what_is_left_is_said_in_words() -> None:
    left = UnderWay(calls=1, requests=2, tokens=3000, silent=("Batcher",))
    assert str(left) == "1 calls, 2 HTTP requests, 3,000 queued tokens, no answer from Batcher"
    assert not UnderWay()
