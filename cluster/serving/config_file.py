"""A Serve YAML file, checked whole before anything starts.

Serve ignores unknown keys at the top level and in deployment blocks, so that a typo silently
becomes a default; here every key of every section is known or named in a ConfigError, and the
`args` and `user_config` of this project's app are checked against their own config classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from cluster.config import ClusterConfig, WeightsConfig, parse_config
from cluster.errors import ConfigError
from cluster.serving.autoscaling import TokenPolicy
from cluster.serving.names import BATCHER, DEPLOYMENTS, REPLICA

BUILDER = "cluster.serving.app:build"
POLICY = f"{TokenPolicy.__module__}:{TokenPolicy.__name__}"
FREE_FORM: dict[str, type[BaseModel]] = {
    "autoscaling_config": AutoscalingConfig,
    "request_router_config": RequestRouterConfig,
}
"""Blocks of a deployment that Serve's own schema takes as any mapping."""


def load_config_file(path: Path) -> ServeDeploySchema:
    """The checked content of `path`. Raises ConfigError listing everything that is wrong in it."""
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a Serve config: it needs a list `applications`")
    schema = _validated(ServeDeploySchema, values, path)
    problems = list(_problems(schema, values))
    if problems:
        raise ConfigError("\n  ".join([f"{path} cannot be used:", *problems]))
    return schema


def _validated(model: type[ServeDeploySchema], values: Any, path: Path) -> ServeDeploySchema:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path} is not a Serve config: {error}") from None


def _problems(schema: ServeDeploySchema, values: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown_keys(schema, values, "")
    for app in schema.applications:
        for deployment in app.deployments:
            block = deployment.model_dump(exclude_unset=True)
            yield from _deployment_problems(f"{app.name}.{deployment.name}", block)
            if app.import_path == BUILDER and deployment.name not in DEPLOYMENTS:
                yield f"{app.name}: no deployment {deployment.name!r}; there are {DEPLOYMENTS}"
            if app.import_path == BUILDER and deployment.name == REPLICA:
                yield from _parse_problems(WeightsConfig, block.get("user_config") or {})
        if app.import_path == BUILDER:
            yield from _parse_problems(ClusterConfig, app.args)
            yield from _policy_problems(app)


def _policy_problems(app: ServeApplicationSchema) -> Iterator[str]:
    """Of the application's autoscaling policy, which Serve first makes inside its controller."""
    policy, where = app.autoscaling_policy or {}, f"{app.name}.autoscaling_policy"
    yield from _unknown_names(AutoscalingPolicy, policy, where)
    if policy.get("policy_function") != POLICY:
        return
    try:
        TokenPolicy(**policy.get("policy_kwargs", {}))
    except (TypeError, ValueError) as error:
        yield f"{where}.policy_kwargs: {error}"
    if not any(d.name == BATCHER and d.autoscaling_config for d in app.deployments):
        yield f"{where}: {BATCHER} reports nothing to it; give it an autoscaling_config with " + (
            "min_replicas equal to max_replicas"
        )


def _deployment_problems(where: str, block: Mapping[str, Any]) -> Iterator[str]:
    for name, model in FREE_FORM.items():
        given = block.get(name)
        if isinstance(given, Mapping):
            yield from _unknown_names(model, given, f"{where}.{name}")


def _unknown_keys(model: BaseModel, values: Any, where: str) -> Iterator[str]:
    """Keys of `values` that `model`, made from it, does not have, at any depth."""
    yield from _unknown_names(type(model), values, where)
    for name in type(model).model_fields.keys() & values.keys():
        made, given = getattr(model, name), values[name]
        pairs = zip(made, given, strict=True) if isinstance(made, list) else [(made, given)]
        for inner, inner_values in pairs:
            if isinstance(inner, BaseModel) and isinstance(inner_values, Mapping):
                part = inner_values.get("name", name)
                inside = f"{where}.{part}" if where else part
                yield from _unknown_keys(inner, inner_values, inside)


def _unknown_names(model: type[BaseModel], values: Mapping[str, Any], where: str) -> Iterator[str]:
    known = sorted(model.model_fields)
    for name in values:
        if name not in known:
            yield f"unknown key {name!r} in {where or 'the top level'}; known: {', '.join(known)}"


def _parse_problems(config: type[Any], values: Any) -> Iterator[str]:
    try:
        parsed = parse_config(config, values)
        if isinstance(parsed, ClusterConfig):
            check_budgets(parsed)
    except ConfigError as error:
        yield error.message


def check_budgets(config: ClusterConfig) -> None:
    """Raises ConfigError for numbers with which nothing, or not every request, could be scored."""
    budget, queue = config.engine.token_budget, config.scheduler.max_queued_tokens
    if budget < 1:
        raise ConfigError(f"engine.token_budget is {budget}; a forward needs at least one token")
    longest = max(budget, config.engine.max_tokens or 0)
    if queue < longest:
        raise ConfigError(
            f"scheduler.max_queued_tokens is {queue}, less than one batch or one longest request "
            f"({longest} tokens): it would be refused forever. Raise it, or lower "
            "engine.token_budget or engine.max_tokens"
        )
