"""Layers of settings: a YAML file's values, overridden by keys given elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.errors import ConfigError


def layered(path: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the YAML file at `path`, if any, overridden by those of `given`.

    Raises ConfigError.
    """
    return merged(read_yaml(path), given)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` overridden by the keys of `over`, section by section."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merged(below, value)
        result[key] = value
    return result


def read_yaml(path: Path | None) -> dict[str, Any]:
    """The file's values, {} without a file. Raises ConfigError if it is not a mapping."""
    import yaml

    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `key: value` lines")
    return values
