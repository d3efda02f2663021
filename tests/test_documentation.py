"""Documentation: the map of the package is current, and links to files lead to files."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import cluster

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "ops" / "docs"


@pytest.fixture(scope="module")
def module_map() -> ModuleType:
    """The script `ops/module_map.py`."""
    spec = importlib.util.spec_from_file_location("module_map", ROOT / "ops" / "module_map.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_map_of_the_package_is_current(module_map: ModuleType) -> None:
    page = (DOCS / "architecture.md").read_text()
    assert page == module_map.updated(page), "run: python ops/module_map.py"


def test_the_map_says_what_a_module_is_and_refuses_one_that_does_not_say(
    module_map: ModuleType, tmp_path: Path
) -> None:
    package = tmp_path / "made"
    package.mkdir()
    (package / "named.py").write_text('"""Request scheduler: order. More text."""\n')
    assert "| `named.py` | Request scheduler: order |" in module_map.module_map(package)
    (package / "silent.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"silent\.py has no docstring"):
        module_map.module_map(package)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_a_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [one for one in targets if not (page.parent / one).exists()] == []


def test_the_page_on_python_has_every_public_name() -> None:
    page = (DOCS / "api.md").read_text()
    shown = set(re.findall(r"^::: cluster\.[\w.]+\.(\w+)$", page, re.M))
    for members in re.findall(r"members: \[(.*)\]", page):
        shown |= set(members.split(", "))
    assert sorted(set(cluster.__all__) - shown) == []


def test_the_page_on_clients_includes_every_example() -> None:
    page = (DOCS / "clients.md").read_text()
    examples = sorted(path.name for path in (ROOT / "ops" / "examples").glob("*.py"))
    assert examples
    assert [one for one in examples if f'--8<-- "ops/examples/{one}"' not in page] == []
