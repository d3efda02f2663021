from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from cluster import __version__
from cluster.cli import COMMANDS, main
from cluster.errors import ModelRefused


def test_help_names_every_command_and_imports_none() -> None:
    code = (
        "import sys\n"
        "from cluster.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([m for m in sys.modules if m.startswith(('torch', 'ray', 'cluster.cli.'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(text in done.stdout for _, text in COMMANDS.values())
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_listed_command_exists_and_explains_itself(name: str) -> None:
    module, attribute = COMMANDS[name][0].split(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.help


def test_the_help_of_no_command_loads_torch_or_ray() -> None:
    code = (
        "import sys\n"
        "from cluster.cli import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    main([name, '--help'], standalone_mode=False)\n"
        "    print('loaded:', name, {'torch', 'transformers', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [line for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert loaded == [f"loaded: {name} set()" for name in COMMANDS]


def test_an_unknown_command_is_a_usage_error() -> None:
    done = CliRunner().invoke(main, ["scoer"])
    assert done.exit_code == 2
    assert "No such command 'scoer'" in done.output


def test_the_version_is_the_packages() -> None:
    assert __version__ in CliRunner().invoke(main, ["--version"]).output


def test_an_error_of_the_project_is_a_message_with_its_code_and_status_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.command()
    def fail() -> None:
        raise ModelRefused("no such model")

    module = ModuleType("failing")
    monkeypatch.setattr(module, "fail", fail, raising=False)
    monkeypatch.setitem(sys.modules, "failing", module)
    monkeypatch.setitem(COMMANDS, "fail", ("failing:fail", "Fail."))
    done = CliRunner().invoke(main, ["fail"])
    assert done.exit_code == 2
    assert done.output == "Error: no such model [model_refused]\n"
