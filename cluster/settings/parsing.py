"""Checked parsing of a configuration: a mapping (YAML, Serve args, flags) -> its dataclass.

Every key and every type is checked; the error names each bad key, what it expects and the known
keys. Knows no configuration class.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from cluster.errors import ConfigError

STRICT: dict[str, Any] = {
    "extra": "forbid",
    "allow_inf_nan": False,
    "use_attribute_docstrings": True,
}
"""For `__pydantic_config__` of every configuration class; the last key makes the docstring under a
field its help text, see `cluster.settings.fields`."""

C = TypeVar("C")


def parse_config(cls: type[C], values: Mapping[str, Any]) -> C:
    """`values` as a `cls`, every key and type checked.

    Raises ConfigError naming each bad key, what it expects, and the known keys.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError(_explain(cls, error.errors())) from None


def check_config(config: C) -> C:
    """`config` as it is. Raises ConfigError as `parse_config` does, for one made in Python."""
    fields = dataclasses.fields(typing.cast(Any, config))
    parse_config(type(config), {field.name: getattr(config, field.name) for field in fields})
    return config


def _explain(cls: type[Any], problems: list[Any]) -> str:
    lines = [f"{cls.__name__} cannot be used:"]
    known = cls
    for problem in problems:
        *path, key = problem["loc"] or ("",)
        known = _section(cls, path)
        name = getattr(known, "renamed", {}).get(key)
        why = f"was renamed to {name}" if name else problem["msg"]
        where = ".".join(map(str, problem["loc"]))
        lines.append(f"  {where}: {why} (got {problem['input']!r})")
    lines.append(f"  known keys: {', '.join(f.name for f in dataclasses.fields(known))}")
    return "\n".join(lines)


def _section(cls: type[Any], path: Sequence[Any]) -> type[Any]:
    """The dataclass of the section at `path` within `cls`, or the last one on the way there."""
    for key in path:
        kind = typing.get_type_hints(cls).get(key)
        found = [one for one in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(one)]
        if not found:
            break
        cls = typing.cast(type[Any], found[0])
    return cls
