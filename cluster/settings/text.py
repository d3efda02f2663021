"""A configuration's defaults as commented YAML, and as tables for the documentation.

Invariant: the YAML of a class parses to that class's defaults. Texts and values come from
`cluster.settings.fields`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from cluster.settings.fields import ConfigField, config_fields

WIDTH = 100


def commented_yaml(cls: type[Any], default: Any = None, indent: int = 0) -> str:
    """Every key of `cls` with its default, its help text above it.

    default: the instance whose values are printed; None is `cls()`.  indent: spaces before each
    line.
    """
    lines: list[str] = []
    hidden: tuple[str, ...] | None = None
    for field in config_fields(cls, default):
        if hidden is not None and field.path[: len(hidden)] == hidden:
            lines.append(_line(field, commented=True))
            continue
        hidden = field.path if field.type == "section" and field.default is None else None
        lines += _comment(field, WIDTH - indent)
        lines.append(_line(field))
    return textwrap.indent("\n".join(lines), " " * indent) + "\n"


def markdown_table(cls: type[Any], *, without: str | None = None) -> str:
    """A Markdown table of every key of `cls`: default and meaning.

    without: a section that is left out.
    """
    rows = [
        f"| `{field.key}` | {_cell(_default(field))} | {_cell(_meaning(field), code=False)} |"
        for field in config_fields(cls)
        if field.path[0] != without
    ]
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def yaml_value(value: Any) -> str:
    """`value` on one line of YAML."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _line(field: ConfigField, commented: bool = False) -> str:
    depth = "  " * (len(field.path) - 1)
    opens = field.type == "section" and (field.default is not None or commented)
    value = "" if opens else f" {yaml_value(field.default)}"
    return f"{'# ' if commented else ''}{depth}{field.path[-1]}:{value}"


def _comment(field: ConfigField, width: int) -> Iterator[str]:
    depth = "  " * (len(field.path) - 1)
    start = f"{depth}# "
    yield from textwrap.wrap(_meaning(field), width, initial_indent=start, subsequent_indent=start)


def _meaning(field: ConfigField) -> str:
    """The help text, then what may be given."""
    allowed = " | ".join(field.choices) or field.bounds
    if allowed and field.nullable:
        allowed = f"{allowed}, or null"
    text = field.help
    if allowed:
        text = f"{text} ({allowed})" if text else allowed
    return text


def _default(field: ConfigField) -> str:
    if field.type == "section":
        return "" if field.default is not None else "null"
    return yaml_value(field.default)


def _cell(text: str, code: bool = True) -> str:
    escaped = text.replace("|", "\\|")
    return f"`{escaped}`" if code and escaped else escaped
