"""Values that no single key shows to be wrong, and every number's bounds."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import config as configs
from cluster.config import ClusterConfig
from cluster.errors import ConfigError
from cluster.serving.deployment.serve_config import LOCAL, load_config_file
from cluster.serving.http.api_keys import VARIABLE
from cluster.settings.parsing import parse_config

REPOSITORY = Path(__file__).resolve().parents[2]
SECTIONS = [
    cls for cls in vars(configs).values() if isinstance(cls, type) and dataclasses.is_dataclass(cls)
]


SIGNED = {"reward_for_failed"}
"""Numbers that may well be negative."""


def numbers(cls: type) -> Iterator[str]:
    """The fields of `cls` that take a number."""
    for name, hint in typing.get_type_hints(cls).items():
        if name != "__pydantic_config__" and {int, float} & {hint, *typing.get_args(hint)}:
            yield name


@pytest.mark.parametrize(
    ("cls", "name"), [(cls, name) for cls in SECTIONS for name in numbers(cls)]
)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf])
def test_no_number_takes_what_cannot_work(cls: type, name: str, value: float) -> None:
    if name in SIGNED:
        value = value * 1e9
    with pytest.raises(ConfigError, match=name):
        parse_config(cls, {name: value})


def test_all_sections_were_looked_at() -> None:
    found = {cls.__name__ for cls in SECTIONS}
    assert found >= {"EngineConfig", "SchedulerConfig", "HttpConfig", "ReplicaConfig"}
    assert "max_queued_tokens" in set(numbers(configs.SchedulerConfig))


def edited(folder: Path, path: str, value: Any) -> Path:
    """`serve_config.yaml` with one value changed."""
    values = yaml.safe_load((REPOSITORY / "serve_config.yaml").read_text())
    *parts, last = path.split(".")
    at: Any = values
    for part in parts:
        at = at[int(part)] if part.isdigit() else at.setdefault(part, {})
    at[last] = value
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


ARGS = "applications.0.args"
REPLICA = "applications.0.deployments.0"
POLICY = "applications.0.autoscaling_policy.policy_kwargs"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (f"{ARGS}.engine.device", "gpu", "engine.device"),
        (f"{ARGS}.engine.device", "cuda:1", "counted from 0"),
        (f"{ARGS}.engine.device", "cpu", "leave out num_gpus"),
        (f"{ARGS}.engine.max_tokens", 5_000_000, "max_tokens_per_request"),
        (f"{ARGS}.engine.model", "/nowhere", "no such folder"),
        (f"{ARGS}.engine.model", "another/model", "Name the model once"),
        (f"{ARGS}.http", {"keys_file": "/nowhere"}, "keys_file"),
        (f"{ARGS}.http", {"max_items": 0}, "max_items"),
        (f"{REPLICA}.user_config.model", "./nowhere", "no such folder"),
        (f"{REPLICA}.ray_actor_options.num_gpus", 0, "num_gpus: 1"),
        (f"{REPLICA}.ray_actor_options", {"num_cpus": 1}, "num_gpus: 1"),
        (f"{REPLICA}.autoscaling_config", {"min_replicas": 3, "max_replicas": 1}, "max_replicas"),
        (f"{POLICY}.stale_s", 1, "stale_s"),
        (f"{POLICY}.tokens_per_s", math.nan, "tokens_per_s"),
        (f"{POLICY}.target_drain_s", math.inf, "target_drain_s"),
        ("http_options.host", "0.0.0.0", "there is no key"),
        ("http_options.host", "::", "there is no key"),
    ],
)
def test_values_that_cannot_work_together_are_named(
    tmp_path: Path, path: str, value: Any, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        load_config_file(edited(tmp_path, path, value))


def test_a_folder_on_another_machine_is_not_looked_for_here(tmp_path: Path) -> None:
    file = edited(tmp_path, f"{REPLICA}.user_config.model", "/nowhere")
    assert load_config_file(file, files_here=False).applications


def test_an_open_service_is_served_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = edited(tmp_path, "http_options.host", "0.0.0.0")
    monkeypatch.setenv(VARIABLE, "a-key")
    load_config_file(file)
    monkeypatch.setenv(VARIABLE, " ")
    with pytest.raises(ConfigError, match=VARIABLE):
        load_config_file(file)
    monkeypatch.delenv(VARIABLE)
    values = yaml.safe_load(file.read_text())
    values["applications"][0]["args"]["http"] = {"open_to_network": True}
    file.write_text(yaml.safe_dump(values))
    load_config_file(file)


@pytest.mark.parametrize(
    "text", ["applications: []\napplications: []\n", "http_options:\n  port: 1\n  port: 2\n"]
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="duplicate key"):
        load_config_file(file)


def test_a_base_may_be_merged_into_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    text = LOCAL.read_text()
    text = text.replace("http_options:", "http_options:\n  <<: {port: 8001}")
    file.write_text(text)
    assert load_config_file(file).http_options.port == 8000


def test_a_config_that_waits_for_its_gpus_is_one(tmp_path: Path) -> None:
    file = edited(tmp_path, f"{ARGS}.replica", {"gpus_may_join": True})
    args = load_config_file(file).applications[0].args
    assert parse_config(ClusterConfig, args).replica.gpus_may_join
