"""Imports point one way, and the heavy packages stay in their rooms. Read from the source, so
that an import inside a function counts too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cluster"
BASE = {"types", "errors", "config"}
LAYERS = (
    BASE,
    {"data"},
    {"engine"},
    {"serving"},
    {"rlhf", "integrations"},
    {"evaluation", "tiny"},
    {"bench"},
    {"cli"},
    {"__main__"},
)
LAYER = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}
HOMES = {
    "torch": {"engine", "rlhf", "tiny", "bench"},
    "transformers": {"engine", "rlhf", "tiny", "bench"},
    "accelerate": {"engine", "rlhf", "bench"},
    "peft": {"rlhf"},
    "ray": {"serving", "rlhf", "integrations", "bench", "cli"},
    "fastapi": {"serving"},
    "trl": {"bench"},
    "verl": set(),
    "openrlhf": set(),
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    """`engine` for cluster/engine/encoding/encoder.py, `types` for cluster/types.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module that `path` imports, at any depth, with absolute names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_its_own_room_and_lower_layers(path: Path) -> None:
    own = room(path)
    assert own in LAYER, f"give cluster/{own} a place in LAYERS"
    for name in imported(path):
        top, _, rest = name.partition(".")
        other = rest.split(".")[0]
        if top != "cluster" or other not in LAYER or other == own:
            continue
        lower = LAYER[other] < LAYER[own] or (own in BASE and other in BASE)
        assert lower, f"{own} must not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_heavy_package_is_imported_only_in_its_rooms(path: Path) -> None:
    for name in imported(path):
        homes = HOMES.get(name.partition(".")[0])
        assert homes is None or room(path) in homes, f"{room(path)} must not import {name}"


@pytest.mark.parametrize(
    "module", ["cluster", "cluster.cli", "cluster.data.formats", "cluster.config"]
)
def test_importing_it_in_a_fresh_process_loads_neither_torch_nor_ray(module: str) -> None:
    code = f"import sys, {module}; print({{'torch', 'transformers', 'ray'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_tokenizing_side_of_the_engine_runs_without_torch_being_imported_by_it() -> None:
    for name in ("encoding/encoder", "packing"):
        tops = {found.partition(".")[0] for found in imported(PACKAGE / "engine" / f"{name}.py")}
        assert "torch" not in tops
