"""What an import costs: heavy packages are loaded by what uses them.

Which room may import which is checked by import-linter (pyproject.toml, `lint-imports`).
"""

from __future__ import annotations

import subprocess
import sys

MODULES = ("cluster", "cluster.config", "cluster.data.formats", "cluster.cli")
CODE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name, {"torch", "transformers", "ray"} & set(sys.modules))
"""


def test_importing_the_package_its_data_and_its_commands_loads_neither_torch_nor_ray() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *MODULES], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{name} set()" for name in MODULES]
