"""The console's files: all there, from this service alone, and sound JavaScript."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

FOLDER = Path(__file__).resolve().parents[3] / "cluster" / "assets" / "console"
OWN = sorted(path for path in FOLDER.iterdir() if path.is_file())
SCRIPTS = [path for path in OWN if path.suffix == ".js"]


def test_the_page_may_run_its_own_files_and_ask_its_own_service_alone(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    rules = dict(rule.strip().split(" ", 1) for rule in policy(answer.headers).split(";"))
    assert rules.pop("img-src") == "'self' data:"
    assert set(rules.values()) <= {"'none'", "'self'"}
    assert {"default-src", "script-src", "style-src", "connect-src", "base-uri"} <= set(rules)


def policy(headers: object) -> str:
    found: str = headers["content-security-policy"]  # type: ignore[index]
    return found


def test_every_file_that_the_page_names_is_served(client: TestClient) -> None:
    named = re.findall(r'(?:src|href)="(console/[^"]+)"', client.get("/").text)
    named += [f"console/{path.name}" for path in OWN]
    kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
    for name in named:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].startswith(kinds[Path(name).suffix])


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_names_another_host_or_makes_html_of_text(path: Path) -> None:
    text = path.read_text()
    assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert not re.findall(r"localStorage|sessionStorage|document\.cookie", text)  # keys stay here


def test_under_a_prefix_the_page_is_where_its_links_lead(client: TestClient) -> None:
    outer = TestClient(Starlette(routes=[Mount("/reward", app=client.app)]))
    assert outer.get("/reward/").status_code == 200
    assert outer.get("/reward", follow_redirects=True).url.path == "/reward/"
    assert outer.get("/reward/console/app.js").status_code == 200


def test_scripts_are_sound_by_their_types() -> None:
    compiler = shutil.which("tsc")
    if compiler is None:
        pytest.skip("no tsc (npm install --global typescript)")
    rules = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--skipLibCheck"]
    target = ["--target", "es2022", "--module", "es2022", "--lib", "es2023,dom,dom.iterable"]
    run = subprocess.run(
        [compiler, *rules, *target, *map(str, SCRIPTS)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
