"""Calls through the client actor that go wrong: references, deadlines, callers that leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.exceptions import PendingCallsLimitExceeded
from support.gate import Gate
from support.serving import PATIENCE_S, sequences, until

from cluster.errors import DeadlineExceeded, InvalidInput, NotReady, RewardError
from cluster.serving.client import connect as module
from cluster.serving.client.connect import RewardService, connect, disconnect
from cluster.serving.deadline import Deadline
from cluster.serving.names import NAMESPACE
from cluster.types import Score

pytestmark = pytest.mark.ray
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

APP = "plain"


def get(ref: Any) -> Any:
    return ray.get(ref, timeout=PATIENCE_S)


def codes(items: list[Score | RewardError]) -> list[str]:
    return ["" if isinstance(item, Score) else item.code for item in items]


class Rollouts:
    """A worker whose tasks fail."""

    def broken(self) -> None:
        raise ValueError("the rollout broke")

    def lost(self) -> None:
        os._exit(1)


def pending_for_ever() -> Any:
    """A reference to a task that no node can run."""

    @ray.remote(resources={"no such resource": 1})
    def never() -> None: ...

    return never.remote()


def test_a_failed_reference_is_the_error_of_its_item(client: Any) -> None:
    make: Any = ray.remote(num_cpus=0)(Rollouts)
    one, other = make.remote(), make.remote()
    broken, lost = one.broken.remote(), other.lost.remote()
    array = np.arange(5)
    items = get(client.score.remote([array, broken, ray.put(array), lost]))
    assert codes(items) == ["", "invalid_input", "", "invalid_input"]
    assert [item.item for item in items if isinstance(item, RewardError)] == [1, 3]
    assert "the rollout broke" in str(items[1])


def test_a_reference_to_a_list_says_what_to_do(client: Any) -> None:
    items = get(client.score.remote([ray.put([np.arange(3), np.arange(4)]), "text"]))
    assert codes(items) == ["invalid_input", ""]
    assert "one reference per conversation" in items[0].message


def test_what_is_there_is_scored_by_the_deadline_though_a_reference_is_pending(
    client: Any,
) -> None:
    never = pending_for_ever()

    def found(deadline_s: float) -> list[str]:
        return codes(get(client.score.remote(["there", never], deadline_s=deadline_s)))

    found_in = (found(deadline_s) for deadline_s in (1.5, 6.0, 30.0))  # as busy as the machine is
    assert ["", "deadline_exceeded"] in found_in
    ray.cancel(never)


def test_a_stream_does_not_wait_for_a_pending_reference(client: Any) -> None:
    never = pending_for_ever()
    stream = client.score_stream.options(num_returns="streaming").remote(["there", never])
    i, item = get(next(stream))
    assert i == 0
    assert isinstance(item, Score)
    ray.cancel(stream)
    ray.cancel(never)


def test_a_deadline_on_the_callers_clock_counts_the_way(client: Any) -> None:
    past = Deadline(time.time() - 60, 10.0)
    assert codes(get(client.score.remote(["a"], deadline=past))) == ["deadline_exceeded"]
    assert codes(get(client.score.remote(["a"], deadline=time.time() + PATIENCE_S))) == [""]


@pytest.mark.parametrize(
    "terms", [{"priority": 10**400}, {"priority": "high"}, {"deadline_s": "5"}]
)
def test_terms_that_cannot_be_are_refused_and_harm_nobody(
    client: Any, terms: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        get(client.score.remote(["a"], **terms))
    assert codes(get(client.score.remote(["a"]))) == [""]


def test_a_string_prompt_is_one_user_message(client: Any) -> None:
    prompt = [{"role": "user", "content": "What is 2 + 2?"}]
    expected = get(client.score_group.remote(prompt, ["4", "5"]))
    group = get(client.score_group.remote("What is 2 + 2?", ["4", "5"]))
    pairs = get(client.score.remote([("What is 2 + 2?", "4"), ("What is 2 + 2?", "5")]))
    assert [i.reward for i in group] == [i.reward for i in pairs] == [i.reward for i in expected]
    with pytest.raises(InvalidInput, match="list of strings"):
        get(client.score_group.remote("What is 2 + 2?", "abc"))


def test_an_app_that_is_not_there_holds_up_nobody_who_has_a_deadline(ray_cluster: Cluster) -> None:
    client: Any = connect("no-such-app", name="waiting", wait=True)
    patient = client.score.remote(["a"])
    assert codes(get(client.score.remote(["a"], deadline_s=1.0))) == ["deadline_exceeded"]
    with pytest.raises(DeadlineExceeded):
        get(client.ready.remote(1.0))
    assert ray.wait([patient], timeout=0) == ([], [patient])
    disconnect("no-such-app", name="waiting")


def test_a_stream_ends_when_its_client_is_gone_or_its_deadline_has_passed(
    client: Any,
) -> None:
    gone = connect(APP, name="gone")
    assert len(RewardService(client=gone).score(["a"])) == 1
    disconnect(APP, name="gone")
    facade = RewardService(client=gone)
    for i, item in facade.stream(["a"], deadline_s=0.5):
        assert (i, codes([item])) == (0, ["deadline_exceeded"])
    with pytest.raises(NotReady, match="connect"):
        list(facade.stream(["a"]))
    with pytest.raises(NotReady, match="connect"):
        facade.score(["a"])


def test_a_caller_that_never_waits_is_stopped_before_the_actor_is_full(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 3)
    never = pending_for_ever()
    for _ in range(2):  # who creates the actor, and who finds it
        bounded: Any = connect(APP, name="bounded")
        with pytest.raises(PendingCallsLimitExceeded):
            [bounded.score.remote([never]) for _ in range(5)]
    disconnect(APP, name="bounded")
    ray.cancel(never)


def test_the_facade_of_an_app_connects_again(client: Any) -> None:
    facade = RewardService(APP)
    assert codes(facade.score(["a"], deadline_s=PATIENCE_S)) == [""]
    disconnect(APP)
    assert codes(facade.score(["a"], deadline_s=PATIENCE_S)) == [""]
    disconnect(APP)


def test_a_stream_that_is_dropped_cancels_what_is_left(client: Any, gate: Gate) -> None:
    batcher = serve.get_deployment_handle("Batcher", APP)
    before = batcher.totals.remote().result().items
    with gate.shut():
        gate.admit_one()
        stream = RewardService(client=client).stream(sequences(3000, np.random.default_rng(7)))
        next(iter(stream))
        assert batcher.state.remote().result().queued_items > 0
        stream.close()  # type: ignore[attr-defined]
        until(lambda: batcher.state.remote().result().queued_items == 0)
    assert batcher.totals.remote().result().items - before < 3000


OTHER_JOB = """
import ray, sys
from cluster.serving.client.connect import connect
ray.init(address=sys.argv[1], log_to_driver=False, namespace="another")
bound = connect(sys.argv[2])
kept = connect(sys.argv[2], name="kept", detached=True)
print(len(ray.get(bound.score.remote(["a"]))), len(ray.get(kept.score.remote(["a"]))))
print(ray.get_runtime_context().get_job_id())
"""


def test_a_client_ends_with_its_job_unless_it_is_detached(
    ray_cluster: Cluster, client: Any
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHER_JOB, ray_cluster.address, APP],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    counts, job = done.stdout.split("\n")[:2]
    assert counts == "1 1"

    def there() -> set[str]:
        return {entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True)}

    until(lambda: f"{APP}@{job}" not in there())
    assert f"{APP}/kept" in there()
    kept: Any = ray.get_actor(f"{APP}/kept", namespace=NAMESPACE)
    assert codes(get(kept.score.remote(["a"]))) == [""]
    assert disconnect(APP, name="kept")
