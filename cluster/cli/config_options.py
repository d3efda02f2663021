"""Command-line options made from a configuration class: every key is a flag.

Only flags that were given end up in the values, so that a config file's own values stand below them
(`cluster.settings.layers`) and the class's defaults below those. One flag: `setting_option`.

click and not tyro or jsonargparse, after a trial of both: a help page takes all three 0.2 to 0.3 s,
and the commands here mix settings with files, switches and lazily imported subcommands, which are
click's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from cluster.cli.setting_option import NULL, SEPARATOR, SettingOption, setting_option
from cluster.settings.fields import ConfigField, config_fields

F = TypeVar("F", bound=Callable[..., Any])
HELP_WIDTH = 100
"""Columns of a help page at most."""


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
            command = setting_option(field, names.get(field.key))(command)
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
