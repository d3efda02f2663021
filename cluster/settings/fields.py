"""Fields of a configuration class: key, default, help text, bounds, as one flat list.

Everything is read from the dataclass itself (defaults, annotations, the docstring under each
field) through pydantic's JSON schema; command-line flags, the commented YAML and the settings page
are made from this list, so that each setting is defined once. Knows nothing of YAML and of click.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

Schema = Mapping[str, Any]
_YAML = {"None": "null", "True": "true", "False": "false"}


@dataclass(frozen=True, slots=True)
class ConfigField:
    """One key of a configuration.

    path: from the outermost section inwards.  default: as JSON has it, None for null.  help: one
    paragraph.  type: `string`, `integer`, `number`, `boolean`, `array`, `object` or `section`; a
    section's own fields follow it.  bounds: in words, "" if there are none.
    """

    path: tuple[str, ...]
    type: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    bounds: str = ""
    nullable: bool = False

    @property
    def key(self) -> str:
        """The dotted name, such as `ppo.loss.kl_coef`."""
        return ".".join(self.path)


def config_fields(cls: type[Any], default: Any = None) -> list[ConfigField]:
    """Every field of the config dataclass `cls`, sections before their own fields.

    default: the instance whose values are the defaults; None is `cls()`.
    """
    from pydantic_core import to_jsonable_python

    schema = _schema(cls)
    values = to_jsonable_python(cls() if default is None else default)
    return list(_fields(schema, schema.get("$defs", {}), values, ()))


def _schema(cls: type[Any]) -> Schema:
    """The JSON schema of `cls`; an inherited field has the text of the class that it comes from,
    which pydantic leaves out."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
    from pydantic_core import core_schema

    class WithInheritedTexts(GenerateJsonSchema):
        def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
            found = super().dataclass_schema(schema)
            for base in filter(is_dataclass, schema["cls"].__mro__[1:]):
                for name, known in TypeAdapter(base).json_schema()["properties"].items():
                    if text := known.get("description"):
                        found["properties"][name].setdefault("description", text)
            return found

    return TypeAdapter(cls).json_schema(schema_generator=WithInheritedTexts)


def _fields(
    schema: Schema, classes: Schema, values: Mapping[str, Any] | None, path: tuple[str, ...]
) -> Iterator[ConfigField]:
    for name, given in schema["properties"].items():
        here = (*path, name)
        variants = [_resolved(v, classes) for v in given.get("anyOf", [given])]
        found = next(v for v in variants if v.get("type") != "null")
        nullable = len(variants) > 1
        # A section that is null by default has its class's own defaults inside.
        default = found.get("default", given.get("default")) if values is None else values[name]
        if "properties" not in found:
            yield _leaf(here, given, found, default, nullable)
            continue
        text = _help(given) or _help(found)
        yield ConfigField(here, "section", default, text, nullable=nullable)
        yield from _fields(found, classes, default, here)


def _leaf(
    path: tuple[str, ...], given: Schema, found: Schema, default: Any, nullable: bool
) -> ConfigField:
    choices = tuple(found.get("enum", [found["const"]] if "const" in found else []))
    return ConfigField(
        path, found.get("type", "string"), default, _help(given), choices, _bounds(found), nullable
    )


def _resolved(schema: Schema, classes: Schema) -> Schema:
    """`schema`, or the class that it refers to."""
    reference = schema.get("$ref")
    return schema if reference is None else classes[reference.rpartition("/")[2]]


def _help(schema: Schema) -> str:
    """One line, with Python's constants as YAML has them."""
    text = " ".join(schema.get("description", "").split())
    return re.sub(r"\b(None|True|False)\b", lambda found: _YAML[found[0]], text)


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    return ", ".join(f"{word} {schema[key]:g}" for key, word in words.items() if key in schema)
