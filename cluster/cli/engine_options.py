"""Engine options: the flags of every command that loads a model.

Defaults are EngineConfig's own, so the command line and a served config agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args

import click

from cluster.config import Dtype, EngineConfig, parse_config
from cluster.types import BosPolicy, Numerics, Truncation

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, dict[str, Any]] = {
    "model": {"help": "`tiny` (built in), a local folder, or a hub id."},
    "revision": {"help": "Hub commit or tag to pin."},
    "device": {"help": "auto, cpu, cuda or cuda:N."},
    "dtype": {"type": click.Choice(get_args(Dtype)), "help": "Of the weights."},
    "compute": {
        "type": click.Choice(("auto", "model", "float32")),
        "help": "Of the arithmetic, outside `reference`.",
    },
    "numerics": {
        "type": click.Choice(get_args(Numerics)),
        "help": "Bits as the pipeline's, bits by the chat alone, or most sharing.",
    },
    "head_dtype": {
        "type": click.Choice(("model", "float32")),
        "help": "Of the scalar head; float32 ties less.",
    },
    "bos": {"type": click.Choice(get_args(BosPolicy)), "help": "Who puts the BOS."},
    "truncate": {
        "type": click.Choice(get_args(Truncation)),
        "help": "A conversation that is too long: refuse it, or cut its start.",
    },
    "max_tokens": {"type": click.IntRange(min=1), "help": "Longest conversation, in tokens."},
    "token_budget": {"type": click.IntRange(min=1), "help": "Unique tokens a forward."},
    "trust_remote_code": {"is_flag": True, "help": "Run Python from the checkpoint."},
}
_DEFAULTS = {field.name: field.default for field in fields(EngineConfig)}


def engine_options(command: F) -> F:
    """Add the engine's options; the command takes them as keywords for `engine_config`."""
    return _add_options(command, _OPTIONS)


def engine_options_beside(*own: str) -> Callable[[F], F]:
    """As `engine_options` without those of which the command has its own."""
    return lambda command: _add_options(
        command, {name: settings for name, settings in _OPTIONS.items() if name not in own}
    )


def _add_options(command: F, options: Mapping[str, Mapping[str, Any]]) -> F:
    for name, settings in reversed(list(options.items())):
        default = _DEFAULTS[name]
        option = click.option(
            f"--{name.replace('_', '-')}",
            default=default,
            show_default=default is not None and "is_flag" not in settings,
            **settings,
        )
        command = option(command)
    return command


def engine_config(**options: Any) -> EngineConfig:
    """The options as a checked EngineConfig; raises ConfigError."""
    return parse_config(EngineConfig, options)
