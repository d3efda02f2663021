"""Config cross-checks: settings that are valid alone but cannot work together.

Every check yields one line per problem, which names the settings and the remedy. Knows Serve's
blocks as plain mappings, and starts nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.config import ClusterConfig
from cluster.data.transforms import check as check_transforms
from cluster.errors import ConfigError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_config(config: ClusterConfig) -> None:
    """Raises ConfigError for settings with which some request, or every one, could never be
    scored."""
    check_transforms(config.http.transforms)
    problems = [*_budgets(config), *_device(config)]
    if problems:
        raise ConfigError("\n".join(problems))


def missing_files(config: ClusterConfig, weights: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the config that do not exist on this machine. weights: the `user_config`."""
    for name, model in (
        ("engine.model", config.engine.model),
        ("user_config.model", weights.get("model")),
    ):
        if model and model.startswith(("/", "./", "../", "~")) and not Path(model).is_dir():
            yield f"{name} is {model!r}, and there is no such folder here"


def two_models(args: Mapping[str, Any], weights: Mapping[str, Any]) -> Iterator[str]:
    """A model that is named twice, differently. args: the app's, as in the file."""
    engine = args.get("engine")
    named = engine.get("model") if isinstance(engine, Mapping) else None
    if named and weights.get("model") and named != weights["model"]:
        yield (
            f"engine.model is {named!r} and user_config.model {weights['model']!r}: the replicas "
            "serve user_config's, with its own tokenizer. Name the model once: leave out "
            "engine.model, then a change of user_config.model rolls through the replicas in place"
        )


def gpu_problems(config: ClusterConfig, block: Mapping[str, Any]) -> Iterator[str]:
    """The Replica deployment's `ray_actor_options` against the engine's device."""
    options, device = block.get("ray_actor_options"), config.engine.device
    if not isinstance(options, Mapping) or config.replica.backend == "sleep":
        return
    n_gpus = options.get("num_gpus") or 0
    if device.startswith("cuda") and not n_gpus:
        yield f"engine.device is {device!r} but a replica has no GPU: set num_gpus: 1"
    elif device == "cpu" and n_gpus:
        yield f"engine.device is 'cpu' but a replica takes {n_gpus:g} GPU: leave out num_gpus"
    index = int(device.partition(":")[2] or 0) if _DEVICE.fullmatch(device) else 0
    if index and index >= n_gpus:
        yield (
            f"engine.device is {device!r} but a replica sees {n_gpus:g} GPU, counted from 0: use "
            "cuda; Ray deals out the GPUs"
        )


def open_problem(config: ClusterConfig, host: str, n_keys: int) -> str | None:
    """Why a service at `host` with so many keys must not start, or None."""
    if n_keys or host in LOOPBACK or config.http.open_to_network:
        return None
    return (
        f"http_options.host {host!r} can be reached from other machines and there is no key: set "
        "REWARD_CLUSTER_KEYS or http.keys_file, or bind to 127.0.0.1, or say http.open_to_network: "
        "true"
    )


def not_finite(values: Mapping[str, Any], where: str) -> Iterator[str]:
    """Numbers of a free-form mapping that are NaN or infinite."""
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{where}.{name} is {value}; it must be a finite number"


def _budgets(config: ClusterConfig) -> Iterator[str]:
    queue, longest = config.scheduler.max_queued_tokens, config.engine.max_tokens or 0
    batch = max(config.engine.token_budget, longest)
    if queue < batch:
        yield (
            f"scheduler.max_queued_tokens is {queue}, less than one batch or one longest request "
            f"({batch} tokens): it would be refused forever. Raise it, or lower "
            "engine.token_budget or engine.max_tokens"
        )
    if config.http.max_tokens_per_request < longest:
        yield (
            f"http.max_tokens_per_request is {config.http.max_tokens_per_request}, less than "
            f"engine.max_tokens, {longest}: the longest conversation could never be sent"
        )


def _device(config: ClusterConfig) -> Iterator[str]:
    device = config.engine.device
    if not _DEVICE.fullmatch(device):
        yield f"engine.device is {device!r}; it must be auto, cpu, cuda or cuda:N"
