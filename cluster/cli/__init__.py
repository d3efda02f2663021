"""The `reward-cluster` command. A subcommand is imported only when it is run.

Knows the name and one line of help of every subcommand, and turns the project's errors into
messages; everything else is in the subcommands' own modules, which import torch and ray no
sooner than they need them. Exit status: 0 done, 1 done but with bad rows or a failed check (see
the subcommand), 2 wrong usage, model or config, nothing done.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from cluster import __version__
from cluster.errors import RewardError

COMMANDS: dict[str, tuple[str, str]] = {
    "score": ("cluster.cli.score:score", "Score every row of a file."),
    "doctor": ("cluster.cli.doctor:doctor", "What will work, what will not, and what to type."),
    "verify": ("cluster.cli.verify:verify", "Compare the engine with the plain pipeline."),
    "demo": ("cluster.cli.demo:demo", "Run the whole path on this machine and show it."),
    "serve": ("cluster.cli.serve:serve", "Serve a config file, checked first."),
    "config": ("cluster.cli.config:config", "Print every setting with its default."),
    "status": ("cluster.cli.status:status", "Watch a running service."),
    "annotate": ("cluster.cli.annotate:annotate", "Score a whole data set, on every node."),
    "select": ("cluster.cli.select:select", "Best of n: annotated rows to chats to fine-tune on."),
    "raft": ("cluster.cli.raft:raft", "RAFT: sample, keep the best, fine-tune, repeat."),
    "dpo": ("cluster.cli.dpo:dpo", "Iterative DPO: sample, pair by reward, train, repeat."),
    "ppo": ("cluster.cli.ppo:ppo", "PPO on Ray, with rewards as futures of the cluster."),
    "pairs": ("cluster.cli.pairs:pairs", "Annotated rows to preference pairs for DPO."),
    "evaluate": ("cluster.cli.evaluate:evaluate", "Reward models side by side on a benchmark."),
    "train": ("cluster.cli.train:train", "Train a reward model on preference pairs."),
    "chaos": ("cluster.cli.chaos:chaos", "Break a service everywhere and check every answer."),
    "bench": ("cluster.cli.bench:bench", "Measure speed against plain transformers."),
}
"""name -> (module:attribute, help)."""


class _Refused(click.ClickException):
    exit_code = 2


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each at its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RewardError as error:
            raise _Refused(f"{error} [{error.code}]") from error
        except OSError as error:  # a full disk, a folder that may not be written: nothing of ours
            raise _Refused(f"{error}; files that were complete are unchanged") from error


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reward-cluster")
def main() -> None:
    """Rewards for chats: score files, serve trainers, train and check reward models.

    Exit status: 0 done; 1 done, with bad rows or a failed check; 2 nothing done.
    """
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' progress bars
