"""YAML configuration files of the training commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.errors import ConfigError


def read_settings(path: Path | None) -> dict[str, Any]:
    """The file's values, {} without a file. Raises ConfigError where it is no mapping."""
    import yaml

    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `key: value` lines")
    return values
