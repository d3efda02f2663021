"""What the package declares, and what it says to somebody who has nothing but the wheel."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest

from cluster.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_USERS = sorted(set(EXTRAS) - {"dev", "docs"})
BY_NAME = {"tensorboard", "wandb"}
"""Trackers, which accelerate imports by their names."""
ELSEWHERE = {"vllm"}
"""Imported by a script that `bench engine --vllm PYTHON` gives to another environment's Python."""


def canonical(requirement: str) -> str:
    name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> Iterator[str]:
    """Top-level names that any module of the package imports, at any depth of it."""
    for path in (ROOT / "cluster").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.partition(".")[0]


def test_declared_are_the_distributions_that_are_imported_and_no_others() -> None:
    extras = [requirement for name in FOR_USERS for requirement in EXTRAS[name]]
    declared = {canonical(one) for one in (*PROJECT["dependencies"], *extras)}
    found = packages_distributions()
    foreign = set(imported()) - set(sys.stdlib_module_names) - {"cluster"} - ELSEWHERE
    missing = {name for name in foreign if name not in found}
    assert not missing, f"install the extra `dev`: {missing}"
    needed = {name: {canonical(one) for one in found[name]} for name in foreign}
    assert {name for name, dists in needed.items() if not dists & declared} == set()
    assert declared - set().union(*needed.values()) - BY_NAME == set()


def source_text() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "cluster").rglob("*.py"))


def test_an_extra_that_a_message_names_exists_and_each_is_named() -> None:
    named = set(re.findall(r"reward-cluster\[(\w+)\]", source_text()))
    assert named == set(FOR_USERS)


def commands() -> Iterator[click.Command]:
    for target, _ in COMMANDS.values():
        module, attribute = target.split(":")
        command: click.Command = getattr(import_module(module), attribute)
        yield command
        if isinstance(command, click.Group):
            yield from command.commands.values()


@pytest.mark.parametrize("command", [main, *commands()], ids=lambda command: str(command.name))
def test_help_names_no_file_that_a_wheel_lacks(command: click.Command) -> None:
    text = command.get_help(click.Context(command, info_name=command.name))
    assert not re.search(r"\bops/|README|\btests/|\.\./|\bcluster/\w", text), text


def messages() -> Iterator[tuple[str, str]]:
    """Every string that is raised, with its file."""
    for path in (ROOT / "cluster").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                for part in ast.walk(node.exc):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield str(path.relative_to(ROOT)), part.value


def test_no_error_names_a_file_that_a_wheel_lacks() -> None:
    found = list(messages())
    assert len(found) > 100
    assert [one for one in found if re.search(r"\bops/|README|\btests/", one[1])] == []
