"""`reward-cluster rewardbench`: RewardBench 1 and 2, by an own engine or a running service."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast, get_args

import click
from click.core import ParameterSource
from rich.console import Console

from cluster.cli.engine_options import engine_config, engine_options
from cluster.cli.progress import TokenProgress
from cluster.cli.scoring_backend import refuse_beside_app, scorer
from cluster.data.jsonl import atomic_writer, to_json_line
from cluster.data.rejects import Rejects
from cluster.errors import InvalidInput, RewardError
from cluster.evaluation.rewardbench import plot, report, v1, v2
from cluster.evaluation.rewardbench.dataset import Sourced, read
from cluster.evaluation.rewardbench.scoring import examples, judge
from cluster.evaluation.rewardbench.types import BenchmarkReport, ScoredExample
from cluster.types import Conversation, Score

WINDOW = 256
"""Conversations a call of the scorer, between two moves of the progress bar."""


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--version", type=click.Choice(("1", "2")), default="1", show_default=True)
@click.option(
    "--tie-rule",
    type=click.Choice(get_args(v1.TieRule)),
    default="ai2",
    show_default=True,
    help="Equal rewards are wrong (ai2) or half right (rlhflow). Version 1 only.",
)
@click.option(
    "--prior",
    multiple=True,
    metavar="DATA",
    help="Prior sets, each named by its split or file. Version 1 only.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for report.json, report.png, examples.jsonl and rejects.jsonl.",
)
@click.option("--strict", is_flag=True, help="The first broken row ends the run.")
@click.option("--app", help="Score by this running Serve application instead of an own engine.")
@engine_options
def rewardbench(
    data: tuple[str, ...],
    version: str,
    tie_rule: v1.TieRule,
    prior: tuple[str, ...],
    out: Path | None,
    strict: bool,
    app: str | None,
    **options: Any,
) -> None:
    """How often the model prefers the right answer, by subset and section.

    DATA: files (.jsonl, .json, .parquet; .gz too), folders of them, or names on the hub, such as
    allenai/reward-bench or allenai/reward-bench-2. Rows have prompt, chosen, rejected and subset;
    in version 2 chosen and rejected are lists. LLMBar's own files are read as Chat Hard's llmbar
    subsets. Prior sets: allenai/preference-test-sets.

    AI2's runs cut chats to their last 2048 tokens: --max-tokens 2048 --truncate left.

    Exit status: 0 done; 1 done, but some rows could not be judged; 2 nothing done.
    """
    if version == "2" and (prior or "tie_rule" in _given()):
        raise click.UsageError("--prior and --tie-rule are of version 1")
    which = cast(Literal[1, 2], int(version))
    rows = chain(*map(read, data), *(read(name, prior=True) for name in prior))
    scorer = _Scorer(app, options)
    judged, broken = _judge(rows, which, scorer, out, strict)
    for line in broken.lines():
        click.echo(line, err=True)
    if not judged:
        raise InvalidInput(f"none of the {broken.n} rows could be judged")
    done = v1.report(judged, tie_rule) if which == 1 else v2.report(judged)
    _show(done, scorer)
    if out is not None:
        _write(done, judged, scorer, out)
    sys.exit(1 if broken.n else 0)


class _Scorer:
    """Scores by an engine or a service, and keeps which models answered and how many tokens."""

    def __init__(self, app: str | None, options: dict[str, Any]) -> None:
        refuse_beside_app(app, _given() & options.keys())
        self._score = scorer(engine_config(**options), app)
        self.n_tokens = 0
        self.models: set[tuple[str, str, str]] = set()

    def __call__(self, conversations: Sequence[Conversation]) -> Sequence[Score | RewardError]:
        results = self._score(conversations)
        for result in results:
            if isinstance(result, Score):
                self.n_tokens += result.n_tokens
                self.models.add((result.model, result.revision, result.numerics))
        return results

    def named(self) -> list[dict[str, str]]:
        """The models that answered; more than one only if a service changed its weights."""
        return [
            dict(zip(("model", "revision", "numerics"), names, strict=True))
            for names in sorted(self.models)
        ]


def _judge(
    rows: Iterable[Sourced], version: Literal[1, 2], scorer: _Scorer, out: Path | None, strict: bool
) -> tuple[list[ScoredExample], Rejects]:
    """Every example judged, and the broken rows, which are in their file."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    judged: list[ScoredExample] = []
    rejects = Rejects(None if out is None else out / "rejects.jsonl", strict)
    with rejects, TokenProgress(None) as progress:
        for one in rejects.keep_valid(judge(examples(rows, version), scorer, WINDOW)):
            judged.append(one)
            progress.add_row()
            progress.add_tokens(scorer.n_tokens)
            scorer.n_tokens = 0
    return judged, rejects


def _show(done: BenchmarkReport, scorer: _Scorer) -> None:
    console = Console()
    console.print(report.subset_table(done))
    console.print(report.section_table(done))
    for line in report.notes(done):
        click.echo(line)
    for model in scorer.named():
        click.echo("{model} @ {revision}, {numerics}".format(**model), err=True)


def _write(
    done: BenchmarkReport, judged: Sequence[ScoredExample], scorer: _Scorer, out: Path
) -> None:
    with atomic_writer(out / "examples.jsonl") as sink:
        sink.writelines(to_json_line(report.example_row(one, done)) for one in judged)
    plot.draw(done, scorer.named()[0]["model"], out / "report.png")
    with atomic_writer(out / "report.json") as sink:
        json.dump({"models": scorer.named(), **asdict(done)}, sink, indent=1)
        sink.write("\n")
    click.echo(f"wrote report.json, report.png and examples.jsonl to {out}", err=True)


def _given() -> set[str]:
    """The options that the command line names."""
    context = click.get_current_context()
    return {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
