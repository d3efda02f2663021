"""The names that `cluster` exports: each resolves, lazily, to what type checkers see."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cluster


def imports_for_type_checkers() -> dict[str, str]:
    """name -> module of the `if TYPE_CHECKING` block."""
    tree = ast.parse(Path(cluster.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


@pytest.mark.parametrize("name", cluster.__all__)
def test_every_exported_name_resolves_and_is_listed(name: str) -> None:
    assert getattr(cluster, name) is not None
    assert name in dir(cluster)


def test_the_lazy_names_are_those_that_type_checkers_see() -> None:
    assert imports_for_type_checkers() == cluster._LAZY
    assert set(cluster._LAZY) <= set(cluster.__all__)
    assert cluster.__all__ == sorted(cluster.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = cluster.scores


def test_a_plain_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, cluster; heavy = {'torch', 'transformers', 'ray'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_a_star_import_has_every_name() -> None:
    code = "import cluster; from cluster import *; assert set(cluster.__all__) <= set(globals())"
    subprocess.run([sys.executable, "-c", code], check=True)
