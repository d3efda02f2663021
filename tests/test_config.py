from __future__ import annotations

import dataclasses
import inspect

import pytest

from cluster.config import ClusterConfig, EngineConfig, HttpConfig, SchedulerConfig
from cluster.errors import ConfigError
from cluster.settings.parsing import parse_config

CONFIGS = (EngineConfig, SchedulerConfig, HttpConfig, ClusterConfig)


@pytest.mark.parametrize("cls", CONFIGS)
def test_an_empty_mapping_is_the_defaults(cls: type) -> None:
    assert parse_config(cls, {}) == cls()


def test_nested_mappings_become_nested_configs() -> None:
    config = parse_config(ClusterConfig, {"engine": {"model": "m"}, "http": {"max_items": 3}})
    assert (config.engine.model, config.http.max_items) == ("m", 3)


def test_an_unknown_key_fails_and_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"modell: .*(?s:.*)known keys: model, revision"):
        parse_config(EngineConfig, {"modell": "tiny"})


def test_every_bad_key_is_named_with_its_path_and_value() -> None:
    bad = {"engine": {"numerics": "exact"}, "scheduler": {"max_attempts": "many"}}
    with pytest.raises(ConfigError) as caught:
        parse_config(ClusterConfig, bad)
    message = str(caught.value)
    assert "engine.numerics: Input should be 'reference', 'invariant' or 'fast'" in message
    assert "scheduler.max_attempts" in message
    assert "'many'" in message


@pytest.mark.parametrize("cls", CONFIGS)
def test_a_config_is_frozen(cls: type) -> None:
    name = dataclasses.fields(cls)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cls(), name, None)


@pytest.mark.parametrize("cls", [EngineConfig, SchedulerConfig, HttpConfig])
def test_every_setting_is_documented(cls: type) -> None:
    source = inspect.getsource(cls)
    for field in dataclasses.fields(cls):
        after = source.split(f"    {field.name}: ", 1)[1].split("\n", 1)[1]
        assert after.lstrip().startswith('"""'), f"{cls.__name__}.{field.name} has no docstring"
