"""A real browser before a live service that wants a key."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from ray.cluster_utils import Cluster
from support.console import KEY, Serving
from support.serving import PATIENCE_S, deployed, until

from cluster.config import ClusterConfig

APP = "console"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser on the path (looked for {', '.join(BROWSERS)})")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def url(http_port: int) -> str:
    return f"http://127.0.0.1:{http_port}/"


@pytest.fixture(scope="module")
def serving(
    ray_cluster: Cluster,
    configure: Callable[..., ClusterConfig],
    url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Serving:
    """`with serving():` the service is there."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    config = configure(http={"keys_file": str(keys)})

    @contextmanager
    def serve() -> Iterator[None]:
        with deployed(config, APP, {}, route_prefix="/"):
            until(lambda: is_ready(url))
            yield

    return serve


@pytest.fixture(scope="module")
def served(browser: Any, serving: Serving) -> Iterator[None]:
    """The service is there for a whole module, where there is a browser to look at it."""
    with serving():
        yield


def is_ready(url: str) -> bool:
    return httpx.get(f"{url}readyz", timeout=PATIENCE_S).status_code == 200


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """The console with the key given; fails the test for any error in a script, and for any
    request to another host."""
    yield from watched(browser, url, {"width": 1280, "height": 900})


@pytest.fixture
def phone(browser: Any, url: str) -> Iterator[Any]:
    """As `page`, 390 px wide."""
    yield from watched(browser, url, {"width": 390, "height": 844})


def watched(browser: Any, url: str, viewport: dict[str, int]) -> Iterator[Any]:
    context = browser.new_context(viewport=viewport)
    context.set_default_timeout(1000 * PATIENCE_S)
    made = context.new_page()
    wrong: list[str] = []

    def asks(request: Any) -> None:
        if not request.url.startswith((url, "data:")):
            wrong.append(request.url)

    def opens(dialog: Any) -> None:
        wrong.append(dialog.message)
        dialog.dismiss()

    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("dialog", opens)
    made.on("request", asks)
    made.goto(url)
    made.get_by_label("API key").fill(KEY)
    yield made
    context.close()
    assert wrong == []
