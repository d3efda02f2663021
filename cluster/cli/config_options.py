"""Command-line options made from a configuration class: every key is a flag.

A flag has the key's dotted name with dashes (`--ppo.loss.kl-coef`); its help, default and choices
are the class's own (`cluster.settings.fields`). Only flags that were given end up in the values, so
that a config file's own values stand below them (`cluster.settings.layers`) and the class's
defaults below those. click and not tyro or jsonargparse, after a trial of both: a help page takes
all three 0.2 to 0.3 s, and the commands here mix settings with files, switches and lazily imported
subcommands, which are click's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cluster.settings.fields import ConfigField, config_fields
from cluster.settings.text import yaml_value

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # no generic class in older releases

F = TypeVar("F", bound=Callable[..., Any])
SEPARATOR = "__"
"""Between the sections of a key in the name of a command's parameter."""
HELP_WIDTH = 100
"""Columns of a help page at most."""
NULL = object()
"""A flag's value `null`; click's own None is a flag that was not given."""


class SettingOption(click.Option):
    """An option that is a key of the configuration; shown below the command's own."""

    @property
    def section(self) -> str:
        """Title above it on the help page."""
        sections = (self.name or "").split(SEPARATOR)[:-1]
        return f"Settings of {sections[0]}" if sections else "Settings"


class SettingsCommand(click.Command):
    """A command whose help shows the settings below its own options, section by section."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.context_settings.setdefault("max_content_width", HELP_WIDTH)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown: dict[str, list[tuple[str, str]]] = {"Options": []}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is not None:
                title = option.section if isinstance(option, SettingOption) else "Options"
                shown.setdefault(title, []).append(record)
        for title, records in shown.items():
            with formatter.section(title):
                formatter.write_dl(records)


class SettingType(_ParamType):
    """The value of one key: text as it is, anything else as YAML. Its bounds are checked with the
    whole configuration."""

    def __init__(self, field: ConfigField) -> None:
        self.name = field.type
        self._field = field

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        import yaml

        if not isinstance(value, str):
            return value
        if self._field.nullable and value == "null":
            return NULL
        if self._field.type == "string":
            return value
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            self.fail(f"{value!r} is not YAML", param, ctx)


def setting_options(
    cls: type[Any], *, skip: Iterable[str] = (), short: Mapping[str, str] | None = None
) -> Callable[[F], F]:
    """Add a flag per key of `cls`; the command takes them as keywords for `given_settings`.

    skip: keys without a flag.  short: further names of a key's flag, as `ppo.steps`: `--steps`.
    """
    names, left_out = short or {}, set(skip)
    fields = [f for f in config_fields(cls) if f.key not in left_out and not _section_only(f)]
    unknown = {*names, *left_out} - {field.key for field in config_fields(cls)}
    assert not unknown, f"{cls.__name__} has no {unknown}"

    def add(command: F) -> F:
        for field in reversed(fields):
            command = _option(field, names.get(field.key))(command)
        return command

    return add


def given_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given, as the nested mapping that a config file would hold."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        if value is not None:
            *sections, key = name.split(SEPARATOR)
            inner = values
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[key] = None if value is NULL else value
    return values


def _section_only(field: ConfigField) -> bool:
    """Whether a field is set by its own keys alone."""
    return field.type == "section" and not field.nullable


def _type(field: ConfigField) -> click.ParamType[Any]:
    return (
        click.Choice(field.choices) if field.choices and not field.nullable else SettingType(field)
    )


def _option(field: ConfigField, short: str | None) -> Callable[[F], F]:
    flag = "--" + ".".join(part.replace("_", "-") for part in field.path)
    names = [flag, *([short] if short else [])]
    if field.type == "boolean":
        *sections, last = flag.removeprefix("--").split(".")
        names[0] = f"{flag}/--{'.'.join([*sections, f'no-{last}'])}"
        kind: dict[str, Any] = {}
    else:
        kind = {"type": _type(field)}
    default = "" if field.default is None else f"  [{yaml_value(field.default)}]"
    bounds = f" ({field.bounds})" if field.bounds else ""
    return click.option(
        SEPARATOR.join(field.path),
        *names,
        cls=SettingOption,
        default=None,
        help=f"{field.help}{bounds}{default}",
        **kind,
    )
