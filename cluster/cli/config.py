"""`reward-cluster config`: every setting with its default and meaning, ready to be edited."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

CONFIGS: dict[str, tuple[str | None, str | None]] = {
    "serve": ("cluster.config:ClusterConfig", "serve.yaml"),
    "engine": ("cluster.config:EngineConfig", None),
    "train": ("cluster.rlhf.training.config:TrainConfig", "train.yaml"),
    "ppo": ("cluster.rlhf.ppo.config:PpoRun", "ppo.yaml"),
    "raft": ("cluster.rlhf.raft.config:RaftRun", "raft.yaml"),
    "dpo": ("cluster.rlhf.dpo.config:DpoRun", "dpo.yaml"),
    "fake-gpu": (None, "serve_fake_gpu.yaml"),
    "fsdp": (None, "fsdp.yaml"),
}
"""name -> (module:class, example file in the package)."""


@click.command()
@click.argument("name", type=click.Choice(list(CONFIGS)))
@click.option("--example", is_flag=True, help="A short worked example instead of every key.")
def config(name: str, example: bool) -> None:
    """Print the settings of NAME as commented YAML: every key, its default, what it means.

    The output is a config file for the command NAME: redirect it to a file, change what you want,
    leave out the rest. Every key is a flag of the command, too. The keys of
    `engine` are a section of `serve`, `reward` of `ppo`, `raft` and `dpo`, and flags of every
    command that loads a model. Two names have only an example: `fake-gpu` (a service whose replicas
    sleep as long as a GPU would compute) and `fsdp` (settings of `accelerate launch` for 8 GPUs).
    """
    from cluster.settings.files import packaged
    from cluster.settings.text import commented_yaml

    cls, file = CONFIGS[name]
    if example and file is None:
        raise click.UsageError(f"`{name}` has no example; see serve or ppo")
    if file is not None and (example or cls is None):
        click.echo(packaged(file).read_text(), nl=False)
    elif name == "serve":
        from cluster.serving.deployment.default_file import default_file

        click.echo(default_file(), nl=False)
    else:
        click.echo(commented_yaml(config_class(name)), nl=False)


def config_class(name: str) -> type[Any]:
    """The configuration class that `reward-cluster config NAME` prints."""
    where = CONFIGS[name][0]
    assert where is not None
    module, attribute = where.split(":")
    found: type[Any] = getattr(import_module(module), attribute)
    return found
