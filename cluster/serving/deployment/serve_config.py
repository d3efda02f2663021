"""Serve config file: YAML, checked whole before anything starts.

Serve ignores unknown keys at the top level and in deployment blocks, and YAML takes the last of two
equal keys, so a typo silently becomes a default. Here every key of every section must be known and
given once, or a ConfigError names it, and the `args` and `user_config` of this project's app are
checked against their own config classes and against one another.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from cluster.config import ClusterConfig, WeightsConfig
from cluster.errors import ConfigError
from cluster.serving import config_checks as check
from cluster.serving.autoscaling import TokenPolicy
from cluster.serving.http.api_keys import KeyRing
from cluster.serving.names import BATCHER, DEPLOYMENTS, INGRESS, REPLICA
from cluster.settings.files import packaged
from cluster.settings.layers import merged
from cluster.settings.parsing import parse_config

LOCAL = packaged("serve_local.yaml")
"""The built-in model on a CPU."""
BUILDER = "cluster.serving.app:build"
POLICY = f"{TokenPolicy.__module__}:{TokenPolicy.__name__}"
FREE_FORM: dict[str, type[BaseModel]] = {
    "autoscaling_config": AutoscalingConfig,
    "request_router_config": RequestRouterConfig,
}
"""Blocks of a deployment that Serve's own schema takes as any mapping."""


def load_config_file(
    path: Path, args: Mapping[str, Any] | None = None, *, files_here: bool = True
) -> ServeDeploySchema:
    """The checked content of `path`. Raises ConfigError listing everything that is wrong in it.

    args: keys that replace those in the `args` of the file's only application of this project.
    files_here: also refuse model folders that do not exist on this machine.
    """
    try:
        values = yaml.load(path.read_text(), _UniqueKeys)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a Serve config: it needs a list `applications`")
    schema = _validated(ServeDeploySchema, values, path)
    if args:
        app = _only_own(schema, path)
        app.args = merged(app.args, args)
    problems = list(_problems(schema, values, files_here))
    if problems:
        raise ConfigError("\n  ".join([f"{path} cannot be used:", *problems]))
    return schema


def own_apps(schema: ServeDeploySchema) -> Iterator[tuple[ServeApplicationSchema, ClusterConfig]]:
    """The file's applications of this project, with their `args`. Raises ConfigError."""
    for app in schema.applications:
        if app.import_path == BUILDER:
            yield app, parse_config(ClusterConfig, app.args)


def _only_own(schema: ServeDeploySchema, path: Path) -> ServeApplicationSchema:
    found = [app for app in schema.applications if app.import_path == BUILDER]
    if len(found) != 1:
        raise ConfigError(
            f"{path} has {len(found)} applications of `{BUILDER}`, and settings beside a file are "
            "for one: write them into `args` of the application that you mean"
        )
    return found[0]


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a duplicate key in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # a default, which the mapping's own keys replace
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                where = f"line {key_node.start_mark.line + 1}"
                raise yaml.constructor.ConstructorError(problem=f"{where}: duplicate key {key!r}")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _validated(model: type[ServeDeploySchema], values: Any, path: Path) -> ServeDeploySchema:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path} is not a Serve config: {error}") from None


def _problems(
    schema: ServeDeploySchema, values: Mapping[str, Any], files_here: bool
) -> Iterator[str]:
    yield from _unknown_keys(schema, values, "")
    for app in schema.applications:
        for deployment in app.deployments:
            block = deployment.model_dump(exclude_unset=True)
            yield from _deployment_problems(f"{app.name}.{deployment.name}", block)
            if app.import_path == BUILDER and deployment.name not in DEPLOYMENTS:
                yield f"{app.name}: no deployment {deployment.name!r}; there are {DEPLOYMENTS}"
        if app.import_path == BUILDER:
            yield from _policy_problems(app)
            yield from _own_problems(app, schema, files_here)


def _own_problems(
    app: ServeApplicationSchema, schema: ServeDeploySchema, files_here: bool
) -> Iterator[str]:
    """Problems of `args`, and of the Replica's block next to them."""
    replica = _block(app, REPLICA)
    weights = replica.get("user_config") or {}
    try:
        parse_config(WeightsConfig, weights)
    except ConfigError as error:
        yield error.message
    try:
        config = parse_config(ClusterConfig, app.args)
        check.check_config(config)
        keys = KeyRing.from_user_config(_block(app, INGRESS).get("user_config") or {}, config.http)
    except ConfigError as error:
        yield error.message
        return
    yield from check.two_models(app.args, weights)
    yield from check.gpu_problems(config, replica)
    if files_here:
        yield from check.missing_files(config, weights)
    if schema.proxy_location != "Disabled" and app.route_prefix is not None:
        problem = check.open_problem(config, schema.http_options.host, len(keys))
        yield from [problem] if problem else []


def _block(app: ServeApplicationSchema, name: str) -> dict[str, Any]:
    """The file's block for the deployment `name`."""
    found = (d for d in app.deployments if d.name == name)
    return next((d.model_dump(exclude_unset=True) for d in found), {})


def _policy_problems(app: ServeApplicationSchema) -> Iterator[str]:
    """Problems of the application's autoscaling policy, which Serve would only create inside its
    controller."""
    policy, where = app.autoscaling_policy or {}, f"{app.name}.autoscaling_policy"
    yield from _unknown_names(AutoscalingPolicy, policy, where)
    if policy.get("policy_function") != POLICY:
        return
    given = policy.get("policy_kwargs") or {}
    yield from _policy_kwargs_problems(given, f"{where}.policy_kwargs")
    reports = _block(app, BATCHER).get("autoscaling_config")
    if not reports:
        yield f"{where}: {BATCHER} reports nothing to it; give it an autoscaling_config with " + (
            "min_replicas equal to max_replicas"
        )
        return
    every_s = AutoscalingConfig(**reports).metrics_interval_s
    if given.get("stale_s", every_s) < every_s:
        yield f"{where}.policy_kwargs.stale_s is below the {every_s:g} s between two reports " + (
            f"({BATCHER}.autoscaling_config.metrics_interval_s): it would never scale"
        )


def _policy_kwargs_problems(given: Mapping[str, Any], where: str) -> Iterator[str]:
    known = sorted(signature(TokenPolicy).parameters)
    for name in given.keys() - known:
        yield f"unknown key {name!r} in {where}; known: {', '.join(known)}"
    yield from check.not_finite(given, where)
    try:
        TokenPolicy(**{name: value for name, value in given.items() if name in known})
    except (TypeError, ValueError) as error:
        yield f"{where}: {error}"


def _deployment_problems(where: str, block: Mapping[str, Any]) -> Iterator[str]:
    for name, model in FREE_FORM.items():
        given = block.get(name)
        if not isinstance(given, Mapping):
            continue
        unknown = list(_unknown_names(model, given, f"{where}.{name}"))
        yield from unknown or _invalid(model, given, f"{where}.{name}")


def _invalid(model: type[BaseModel], given: Mapping[str, Any], where: str) -> Iterator[str]:
    """Problems that Serve would find only when it deploys, such as a minimum above the maximum."""
    try:
        model(**given)
    except ValidationError as error:
        for problem in error.errors():
            yield f"{where}: {problem['msg']}"
    except ValueError as error:
        yield f"{where}: {error}"


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
