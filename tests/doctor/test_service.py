"""The doctor's look at a service: by its URL, and by a snapshot of an application."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from support.http import INFO, FakeScorer
from support.http_server import listening
from support.ports import free_port

from cluster.config import EngineConfig, HttpConfig
from cluster.doctor.check import Check
from cluster.doctor.run import kind, next_line
from cluster.doctor.service import snapshot_checks, url_checks
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import ScoringFailed
from cluster.serving.batching.queue_state import QueueState
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.http.app import build_http_app
from cluster.serving.status import Deployment, Snapshot


@pytest.fixture(scope="module")
def scorer() -> FakeScorer:
    return FakeScorer(ChatEncoder.load(EngineConfig(model="tiny")))


@pytest.fixture(scope="module")
def url(scorer: FakeScorer) -> Iterator[str]:
    app = build_http_app(scorer, HttpConfig(), keys=KeyRing.of([b"secret"]))
    with listening(app) as (host, port):
        yield f"http://{host}:{port}"


def states(checks: Iterator[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def test_a_service_that_scores_has_no_problem(url: str) -> None:
    found = states(url_checks(url, "secret"))
    assert found == {"readiness": "ok", "model and key": "ok", "scoring": "ok"}


def test_a_wrong_key_is_told_before_a_chat_is_sent(url: str) -> None:
    found = list(url_checks(url, "wrong"))
    assert [check.state for check in found] == ["ok", "problem"]
    assert "API key" in found[-1].found


def test_a_chat_that_cannot_be_scored_is_a_problem(url: str, scorer: FakeScorer) -> None:
    scorer.instead = [ScoringFailed("its replica failed")]
    try:
        assert states(url_checks(url, "secret"))["scoring"] == "problem"
    finally:
        scorer.instead = None


def test_nobody_there_and_not_ready_yet_differ(url: str, scorer: FakeScorer) -> None:
    [nobody] = url_checks(f"http://127.0.0.1:{free_port()}", None)
    assert "reward-cluster serve" in nobody.found
    scorer.serving = False
    try:
        [waiting] = url_checks(url, None)
    finally:
        scorer.serving = True
    assert nobody.state == waiting.state == "problem"
    assert "no replica serves yet" in waiting.found


def test_a_snapshot_shows_replicas_weights_and_those_that_do_not_answer() -> None:
    sound = Snapshot(
        app="reward",
        status="RUNNING",
        message="",
        at=0.0,
        deployments=(Deployment("Replica", "HEALTHY", {"RUNNING": 2}),),
        models=(INFO, INFO),
        queue=QueueState(12, 3456, 789, 1000.0),
    )
    assert set(states(snapshot_checks(sound)).values()) == {"ok"}
    broken = dataclasses.replace(
        sound,
        deployments=(Deployment("Replica", "UPDATING", {"STARTING": 2}),),
        models=(dataclasses.replace(INFO, load_error="no such revision"),),
        queue=dataclasses.replace(sound.queue or QueueState(0, 0, 0, 0.0), struck=("r1",)),
    )
    found = states(snapshot_checks(broken))
    assert found["Replica"] == found["model"] == "problem"
    assert found["queue"] == "note"


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("http://h:1", "url"),
        ("localhost:8000", "url"),
        ("tiny", "model"),
        ("owner/name", "model"),
        (".", "model"),
        ("reward", "app"),
    ],
)
def test_a_target_is_told_by_its_form_and_has_a_next_line(target: str, what: str) -> None:
    assert kind(target) == what
    assert target in next_line(target, failed=False)
    assert next_line(target, failed=True) == ""
