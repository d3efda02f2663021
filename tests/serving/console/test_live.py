"""The live page in a real browser, before a service that goes and comes back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from support.console import KEY, Serving
from support.serving import PATIENCE_S

pytestmark = pytest.mark.ray


def tile(page: Any, name: str) -> Any:
    return page.locator(".tile", has_text=name)


def test_it_shows_the_service_and_says_when_it_is_gone_and_back(
    browser: Any, serving: Serving, request: pytest.FixtureRequest, url: str
) -> None:
    with serving():
        page = request.getfixturevalue("page")
        page.get_by_role("tab", name="Live").click()
        tile(page, "Replicas").get_by_text("all running").wait_for()
        body = {"conversations": [{"prompt": "p", "responses": ["a", "b"]}, {"messages": []}]}
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = httpx.post(f"{url}v1/score", json=body, headers=headers, timeout=PATIENCE_S)
        answer.raise_for_status()
        tile(page, "Chats per second").get_by_text("2 since the start").wait_for()
        page.get_by_role("row", name="invalid_input 1").wait_for()
        assert page.locator("#live canvas").count() == 3
    page.locator("#live.stale .message:not(:empty)").wait_for()
    with serving():
        page.locator("#live:not(.stale)").wait_for()
        tile(page, "Replicas").get_by_text("all running").wait_for()
        page.get_by_role("tab", name="Compare").click()
        page.get_by_role("button", name="Rank", exact=True).click()
        page.locator(".card").first.wait_for()
