"""Both HTTP clients, far from the proxies of the machine that runs the tests."""

from __future__ import annotations

import pytest
from support.http_clients import BOTH, Scored


@pytest.fixture(params=BOTH)
def scored(request: pytest.FixtureRequest) -> Scored:
    return BOTH[request.param]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
