"""Setting option: one key of a configuration class as a click option.

The flag has the key's dotted name with dashes (`--ppo.loss.kl-coef`); help, default and choices are
the class's own (`cluster.settings.fields`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cluster.settings.fields import ConfigField
from cluster.settings.text import yaml_value

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # no generic class in older releases

F = TypeVar("F", bound=Callable[..., Any])
SEPARATOR = "__"
"""Between the sections of a key in the name of a command's parameter."""
NULL = object()
"""A flag's value `null`; click's own None is a flag that was not given."""


class SettingOption(click.Option):
    """An option that is a key of the configuration; shown below the command's own."""

    @property
    def section(self) -> str:
        """Title above it on the help page."""
        sections = (self.name or "").split(SEPARATOR)[:-1]
        return f"Settings of {sections[0]}" if sections else "Settings"


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


def setting_option(field: ConfigField, short: str | None) -> Callable[[F], F]:
    """Adds the flag of `field` to a command. short: a further name of the flag."""
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


def _type(field: ConfigField) -> click.ParamType[Any]:
    return (
        click.Choice(field.choices) if field.choices and not field.nullable else SettingType(field)
    )
