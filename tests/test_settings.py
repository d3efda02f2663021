"""One source of settings: what is printed, flagged and documented is the config classes' own."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from cluster.cli import main
from cluster.cli.config import CONFIGS, config_class
from cluster.cli.config_options import given_settings, setting_options
from cluster.cli.setting_option import SEPARATOR
from cluster.config import ClusterConfig, EngineConfig
from cluster.errors import ConfigError
from cluster.rlhf.training.config import LoraSettings, TrainConfig
from cluster.serving.deployment.serve_config import LOCAL, load_config_file, own_apps
from cluster.settings.fields import config_fields
from cluster.settings.files import FOLDER, packaged
from cluster.settings.layers import layered, merged
from cluster.settings.parsing import STRICT, parse_config
from cluster.settings.text import commented_yaml, markdown_table

CLASSES = [name for name, (where, _) in CONFIGS.items() if where]


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["config", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "serve"])
def test_the_printed_default_parses_to_the_default_and_has_every_key(name: str) -> None:
    cls = config_class(name)
    values = yaml.safe_load(printed(name))
    assert parse_config(cls, values) == cls()
    assert list(values) == [field.name for field in dataclasses.fields(cls)]


def test_the_printed_serve_config_is_what_serve_local_serves(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(printed("serve"))
    ((app, config),) = own_apps(load_config_file(path))
    ((_, local),) = own_apps(load_config_file(LOCAL))
    assert config == local
    assert app.args.keys() == {field.name for field in dataclasses.fields(ClusterConfig)}
    assert "engine" in app.args
    assert len(app.args["engine"]) == len(dataclasses.fields(EngineConfig))


@pytest.mark.parametrize("name", [name for name, (_, file) in CONFIGS.items() if file])
def test_an_example_is_the_packaged_file_and_its_keys_are_known(name: str) -> None:
    where, file = CONFIGS[name]
    assert file is not None
    text = printed(name, "--example")
    assert text == packaged(file).read_text()
    if name == "serve":
        assert load_config_file(packaged(file))
    elif where is not None:
        assert parse_config(config_class(name), yaml.safe_load(text))


def test_every_packaged_config_file_is_printed_by_a_name() -> None:
    shown = {file for _, file in CONFIGS.values() if file} | {LOCAL.name}
    assert {path.name for path in FOLDER.glob("*.yaml")} == shown


def test_there_is_no_example_of_the_engine_alone() -> None:
    done = CliRunner().invoke(main, ["config", "engine", "--example"])
    assert done.exit_code == 2
    assert "`engine` has no example" in done.output


@pytest.mark.parametrize("name", CLASSES)
def test_every_setting_has_a_help_text(name: str) -> None:
    assert not [field.key for field in config_fields(config_class(name)) if not field.help]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Inner:
    __pydantic_config__ = STRICT

    rate: float = 2e-6
    """A rate, None or True."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Outer:
    __pydantic_config__ = STRICT

    name: str = "5"
    """A name."""
    other: str | None = "x"
    """Another."""
    count: int | None = 3
    """A count."""
    pair: tuple[float, float] | None = (0.0, 1.0)
    """A pair."""
    switch: bool = True
    """A switch."""
    inner: _Inner = dataclasses.field(default_factory=_Inner)
    """A section."""
    more: _Inner | None = None
    """A section that is off."""


@click.command()
@setting_options(_Outer, short={"inner.rate": "--rate"})
def command(**options: Any) -> None:
    click.echo(repr(parse_config(_Outer, given_settings(options))))


def parsed(*arguments: str) -> str:
    done = CliRunner().invoke(command, arguments)
    return done.output.strip() if done.exit_code == 0 else f"{done.output}{done.exception}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], _Outer()),
        (["--name", "7"], _Outer(name="7")),
        (["--name", "null"], _Outer(name="null")),
        (["--other", "null"], _Outer(other=None)),
        (["--count", "null"], _Outer(count=None)),
        (["--count", "4"], _Outer(count=4)),
        (["--pair", "[1, 2e-3]"], _Outer(pair=(1.0, 0.002))),
        (["--no-switch"], _Outer(switch=False)),
        (["--inner.rate", "1e-3"], _Outer(inner=_Inner(rate=0.001))),
        (["--rate", "1"], _Outer(inner=_Inner(rate=1.0))),
        (["--more.rate", "1"], _Outer(more=_Inner(rate=1.0))),
        (["--more", "{}"], _Outer(more=_Inner())),
    ],
)
def test_a_flag_sets_its_key(arguments: list[str], expected: _Outer) -> None:
    assert parsed(*arguments) == repr(expected)


def test_a_flag_that_does_not_fit_is_refused_by_its_key() -> None:
    assert "inner.rate" in parsed("--inner.rate", "fast")


def test_the_yaml_of_sections_and_nulls_parses_back() -> None:
    text = commented_yaml(_Outer)
    assert parse_config(_Outer, yaml.safe_load(text)) == _Outer()
    assert "# A rate, null or true." in text
    assert "more: null\n#   rate: 2.0e-06" in text


def test_a_table_has_a_row_per_key() -> None:
    table = markdown_table(_Outer)
    assert "| `inner.rate` | `2.0e-06` | A rate, null or true. |" in table
    assert len(table.splitlines()) == 2 + len(config_fields(_Outer))


def test_the_page_of_settings_has_every_printed_class() -> None:
    page = (Path(__file__).resolve().parents[1] / "ops/docs/settings.md").read_text()
    assert not [name for name in CLASSES if name != "engine" and f"settings: {name}" not in page]


def test_flags_stand_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("lr: 1.0e-3\nepochs: 3\nlora: {rank: 4}\n")
    options = {"epochs": 5, "lora__alpha": 2, "seed": None}
    config = parse_config(TrainConfig, layered(file, given_settings(options)))
    expected = TrainConfig(lr=1e-3, epochs=5, lora=LoraSettings(rank=4, alpha=2))
    assert config == expected


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("- 1\n")
    with pytest.raises(ConfigError, match="key: value"):
        layered(file, {})


def test_a_section_is_merged_key_by_key() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"c": 3}}) == {
        "a": {"b": 1, "c": 3},
        "d": 1,
    }


@pytest.mark.parametrize("name", ["serve", "train", "ppo", "raft", "dpo"])
def test_every_key_of_a_config_is_a_flag_of_its_command(name: str) -> None:
    text = CliRunner().invoke(main, [name, "--help"]).output
    fields = [field for field in config_fields(config_class(name)) if field.type != "section"]
    flags = [f"--{field.key.replace('_', '-')}" for field in fields]
    assert not [flag for flag in flags if not re.search(rf"{re.escape(flag)}[ ,]", text)]


@pytest.mark.parametrize("name", ["score", "verify", "demo", "annotate"])
def test_every_key_of_the_engine_is_a_flag_of_a_command_that_loads_a_model(name: str) -> None:
    text = CliRunner().invoke(main, [name, "--help"]).output
    for field in config_fields(EngineConfig):
        flag = f"--{field.key.replace('_', '-')}"
        assert (flag in text) is (field.key != "verify_at_start"), flag


@pytest.mark.parametrize("name", ["train", "ppo"])
def test_every_key_of_train_and_ppo_is_a_flag_of_that_command(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    flags = {param.name for param in command.params}
    fields = [f for f in config_fields(config_class(name)) if f.type != "section" or f.nullable]
    assert fields
    assert not [field.key for field in fields if SEPARATOR.join(field.path) not in flags]
