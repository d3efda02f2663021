"""A process may find an actor by its name for a moment after its death; no client comes of it."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from support.serving import PATIENCE_S

from cluster.serving.client.connect import RewardService, connect, disconnect
from cluster.types import Score

pytestmark = pytest.mark.ray

NAME = "late-news"


@pytest.fixture(autouse=True)
def _news_of_deaths_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's look-up of a name answers thrice more with an actor that has been killed."""
    dead: list[Any] = []
    names: dict[Any, str] = {}
    kill, look_up = ray.kill, ray.get_actor

    def late_kill(actor: Any, *, no_restart: bool = True) -> None:
        kill(actor, no_restart=no_restart)
        dead.extend([actor] * 3)

    def late_look_up(name: str, namespace: str | None = None) -> Any:
        if dead and names.get(dead[-1]._actor_id) == name:
            return dead.pop()
        found: Any = look_up(name, namespace)
        names[found._actor_id] = name
        return found

    monkeypatch.setattr(ray, "kill", late_kill)
    monkeypatch.setattr(ray, "get_actor", late_look_up)


def test_whoever_disconnects_finds_nothing_to_disconnect_and_connects_anew(plain_app: str) -> None:
    for _ in range(2):  # creates it, finds it
        connect(plain_app, name=NAME)
    assert disconnect(plain_app, name=NAME)
    assert not disconnect(plain_app, name=NAME)
    again: Any = connect(plain_app, name=NAME)
    (score,) = ray.get(again.score.remote(["a"]), timeout=PATIENCE_S)
    assert isinstance(score, Score)
    assert disconnect(plain_app, name=NAME)


def test_a_service_whose_actor_has_ended_elsewhere_connects_to_a_living_one(
    plain_app: str,
) -> None:
    service = RewardService(plain_app)
    assert isinstance(service.score(["a"])[0], Score)
    connect(plain_app)  # finds it
    ray.kill(service.client)
    assert isinstance(service.score(["a"], deadline_s=PATIENCE_S)[0], Score)
    assert disconnect(plain_app)
