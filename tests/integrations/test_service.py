"""Where a hook finds its service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from support.ports import free_port

from cluster.errors import NotReady
from cluster.integrations import service
from cluster.integrations.service import HookService, Results, hook_service
from cluster.types import Conversation


def test_a_url_in_code_goes_before_that_of_the_environment(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(service.URL_VARIABLE, "http://127.0.0.1:1")
    assert len(HookService(url).score([("Hi", "Hello!")])) == 1


def test_where_there_is_none_the_error_says_how_to_name_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(service.URL_VARIABLE, raising=False)
    monkeypatch.setattr(service, "URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NotReady, match=r"no reward service found.*REWARD_CLUSTER_URL"):
        HookService().score([("Hi", "Hello!")])


def test_a_process_has_one_service_of_each_kind() -> None:
    assert hook_service("http://a") is hook_service("http://a")
    assert hook_service("http://a") is not hook_service("http://b")


def test_the_first_calls_connect_once_and_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook, runs = HookService(url="http://nowhere"), threading.Event()
    connected: list[object] = []

    async def answer(chats: Sequence[Conversation]) -> Results:
        return []

    def connect() -> object:
        assert runs.wait(60), "the event loop stands still"
        connected.append(answer)
        return answer

    async def run() -> None:
        calls = [asyncio.create_task(hook.score_async([])) for _ in range(3)]
        await asyncio.sleep(0)
        runs.set()
        await asyncio.gather(*calls)

    monkeypatch.setattr(hook, "_connected_async", connect)
    asyncio.run(run())
    assert len(connected) == 1
