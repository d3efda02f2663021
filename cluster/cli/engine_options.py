"""Engine options: every key of EngineConfig as a flag of every command that loads a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cluster.cli.config_options import given_settings, setting_options
from cluster.config import EngineConfig
from cluster.settings.parsing import parse_config

F = TypeVar("F", bound=Callable[..., Any])
SERVED_ONLY = "verify_at_start"
"""A replica's; a command that loads a model for itself has `reward-cluster verify`."""


def engine_options(command: F) -> F:
    """Add the engine's options; the command takes them as keywords for `engine_config`."""
    return setting_options(EngineConfig, skip=[SERVED_ONLY])(command)


def engine_options_beside(*own: str) -> Callable[[F], F]:
    """As `engine_options` without those of which the command has its own."""
    return setting_options(EngineConfig, skip=[SERVED_ONLY, *own])


def engine_config(**options: Any) -> EngineConfig:
    """The options as a checked EngineConfig; raises ConfigError."""
    return parse_config(EngineConfig, given_settings(options))
