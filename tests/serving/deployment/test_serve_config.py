from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cluster.cli import main
from cluster.errors import ConfigError
from cluster.serving.deployment.serve_config import LOCAL, load_config_file, own_apps

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["serve_config.yaml", "cluster/assets/configs/serve_local.yaml"])
def test_the_shipped_configs_are_sound(name: str) -> None:
    schema = load_config_file(REPOSITORY / name)
    assert schema.http_options.host == "127.0.0.1"


def test_the_packaged_default_is_the_repositorys() -> None:
    shipped = (REPOSITORY / "serve_config.yaml").read_bytes()
    assert (REPOSITORY / "cluster/assets/configs/serve.yaml").read_bytes() == shipped


def edit(values: Any, path: str, key: str, value: Any) -> None:
    for part in path.split(".") if path else []:
        values = values[int(part)] if part.isdigit() else values[part]
    values[key] = value


APP = "applications.0"
BLOCK = f"{APP}.deployments.0"


@pytest.mark.parametrize(
    ("path", "key", "value", "named"),
    [
        ("", "http_option", {}, "http_option"),
        ("http_options", "prot", 1, "prot"),
        (BLOCK, "max_ongoing_request", 9, "max_ongoing_request"),
        (f"{BLOCK}.ray_actor_options", "num_gpu", 1, "num_gpu"),
        (f"{BLOCK}.autoscaling_config", "max_replica", 3, "max_replica"),
        (f"{APP}.autoscaling_policy", "policy_kwarg", {}, "policy_kwarg"),
        (f"{APP}.autoscaling_policy.policy_kwargs", "drain_s", 3, "known: stale_s, target_drain_s"),
        (f"{APP}.autoscaling_policy.policy_kwargs", "stale_s", 0, "must be positive"),
        (f"{APP}.deployments.1", "autoscaling_config", None, "reports nothing"),
        (f"{BLOCK}.user_config", "revison", "x", "revison"),
        (f"{APP}.args.engine", "token_budgt", 1, "token_budgt"),
        (f"{APP}.args", "schedular", {}, "schedular"),
        (BLOCK, "name", "Replicas", "Replicas"),
        (f"{APP}.args.engine", "token_budget", 0, "token_budget"),
        (f"{APP}.args.scheduler", "max_queued_tokens", 100, "max_queued_tokens"),
    ],
)
def test_a_typo_or_an_impossible_value_is_named(
    tmp_path: Path, path: str, key: str, value: Any, named: str
) -> None:
    values = yaml.safe_load((REPOSITORY / "serve_config.yaml").read_text())
    edit(values, path, key, value)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=named):
        load_config_file(file)


@pytest.mark.parametrize("text", ["a: [", "- 1", "applications: 3"])
def test_a_file_that_is_no_serve_config_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load_config_file(file)


def test_settings_beside_a_file_stand_before_its_args() -> None:
    schema = load_config_file(LOCAL, {"engine": {"token_budget": 4096}})
    ((_, config),) = own_apps(schema)
    assert (config.engine.model, config.engine.token_budget) == ("tiny", 4096)
    with pytest.raises(ConfigError, match="num_gpus"):
        load_config_file(LOCAL, {"engine": {"device": "cuda"}})


def test_settings_beside_a_file_need_one_application_to_go_to(tmp_path: Path) -> None:
    values = yaml.safe_load(LOCAL.read_text())
    (app,) = values["applications"]
    values["applications"] = [app, app | {"name": "second", "route_prefix": "/second"}]
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(values))
    assert len(list(own_apps(load_config_file(path)))) == 2
    with pytest.raises(ConfigError, match="has 2 applications"):
        load_config_file(path, {"engine": {"token_budget": 4096}})


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--engine.token-budget", "4096"], 0, "valid; open, no keys"),
        (["--http.max-items", "0"], 2, "http.max_items"),
        (["--engine.model", "./nowhere"], 2, "'./nowhere', and there is no such folder"),
        (["--http.keys-file", "/no/such/file"], 2, "/no/such/file"),
    ],
)
def test_serve_checks_its_flags_with_the_file(flags: list[str], status: int, said: str) -> None:
    done = CliRunner().invoke(main, ["serve", "--local", "--check", *flags])
    assert done.exit_code == status, done.output
    assert said in done.output
