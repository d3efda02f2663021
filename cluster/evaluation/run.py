"""Evaluation run: rows to reports, every contender on the same items.

Invariant: a row that one contender cannot judge costs only that contender the row; models are
compared on the units that both have. With a folder every window's results are on the disk before
the next is asked, and a killed run resumes there when its command is given again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path

from cluster.config import EngineConfig
from cluster.data.output_lock import output_lock
from cluster.errors import ConfigError, InvalidInput
from cluster.evaluation import bootstrap, contenders, results
from cluster.evaluation.bootstrap import Comparison, Interval
from cluster.evaluation.contenders import Contender
from cluster.evaluation.dataset import data_digest, read
from cluster.evaluation.results import ResultLog
from cluster.evaluation.scoring import WINDOW, items, judge
from cluster.evaluation.style import StyleReport, style_report
from cluster.evaluation.suite import Suite
from cluster.evaluation.suites import AUTO, make_suite, recognise
from cluster.evaluation.types import Judged, LeftOut, Refusal, SourcedRow, SuiteReport, Verdict
from cluster.rlhf.runs.manifest import claim
from cluster.rlhf.runs.reward_model_id import scored_by

OnWindow = Callable[[str, int], object]
"""Called with a contender's name and how many rows were judged."""


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One contender on the suite. interval: of its score, by the bootstrap.

    identity: the model, revision and numerics that answered.  truncated: items of which the start
    of a chat was cut.
    """

    name: str
    identity: dict[str, str]
    report: SuiteReport
    interval: Interval | None
    style: StyleReport
    truncated: int
    judged: tuple[Judged, ...] = field(repr=False)
    refused: tuple[Refusal, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A suite, and every contender on it. n_rows: of the data.  n_left_out: not counted."""

    suite: str
    title: str
    data: tuple[str, ...]
    n_rows: int
    n_left_out: int
    seed: int
    models: tuple[ModelResult, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def refused(self) -> list[Refusal]:
        """Every row that some contender could not judge, once for each reason."""
        found = {str(one): one for model in self.models for one in model.refused}
        return list(found.values())


def evaluate(
    suite: str | Suite,
    data: str | Path | Sequence[str | Path],
    models: Sequence[str | EngineConfig | Contender],
    *,
    out: Path | None = None,
    seed: int = 0,
    resamples: int = bootstrap.RESAMPLES,
    strict: bool = False,
    window: int = WINDOW,
    on_window: OnWindow = lambda name, n: None,
) -> Evaluation:
    """Judge `data` by `suite` with each of `models`.

    suite: its name, `auto` to recognise it from the first row, or a Suite with its options.
    data: files, folders, globs, URLs, or hub data sets.
    models: names or folders of models, engine configs, or contenders.
    out: folder of the results, which resumes there; None keeps them in memory only.
    seed, resamples: of the bootstrap.  strict: the first row that cannot be judged ends the run.

    Raises InvalidInput if nothing can be judged, ConfigError if `out` holds something else.
    """
    sources = [str(one) for one in ([data] if isinstance(data, str | Path) else data)]
    asked = [_contender(one) for one in models]
    _check(asked)
    chosen = _suite(suite, sources)
    made_from = {"suite": chosen.name, "data": data_digest(sources)} | chosen.settings()
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(output_lock(out))
            claim(out, made_from)
        found = []
        for one in asked:
            found.append(_run(one, chosen, sources, out, strict, window, on_window))
            if one.in_process:
                gc.collect()
    done = tuple(
        _result(one, chosen, identity, verdicts, seed, resamples)
        for one, (identity, verdicts) in zip(asked, found, strict=True)
    )
    verdicts = found[0][1]
    return Evaluation(
        chosen.name,
        chosen.title,
        tuple(sources),
        len(verdicts),
        sum(isinstance(one, LeftOut) for one in verdicts),
        seed,
        done,
        tuple(_comparisons(chosen, done, seed, resamples)),
    )


def _contender(model: str | EngineConfig | Contender) -> Contender:
    if isinstance(model, Contender):
        return model
    return contenders.engine(EngineConfig(model=model) if isinstance(model, str) else model)


def _check(asked: Sequence[Contender]) -> None:
    names = [one.name for one in asked]
    if not names:
        raise ConfigError("an evaluation needs at least one model")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{', '.join(twice)} is given twice; give each model once")


def _suite(suite: str | Suite, sources: Sequence[str]) -> Suite:
    if isinstance(suite, Suite):
        return suite
    return recognise(_rows(sources)) if suite == AUTO else make_suite(suite)


def _rows(sources: Sequence[str]) -> Iterator[SourcedRow]:
    return chain.from_iterable(map(read, sources))


def _run(
    one: Contender,
    suite: Suite,
    sources: Sequence[str],
    out: Path | None,
    strict: bool,
    window: int,
    on_window: OnWindow,
) -> tuple[dict[str, str], list[Verdict]]:
    """Who answered, and a verdict for every row."""
    asked = items(suite.rows(_rows(sources)), suite)
    score = one.load()
    identity = scored_by(score)
    verdicts: list[Verdict] = []
    log = None if out is None else _log(out, one, identity)
    if log is not None:
        verdicts += log.replay(asked)
        on_window(one.name, len(verdicts))
    for window_verdicts in judge(asked, score, window):
        if log is not None:
            log.append(window_verdicts, suite)
        if strict and (bad := [v for v in window_verdicts if isinstance(v, Refusal)]):
            raise InvalidInput(f"{bad[0]}; strict, so the run ends here")
        verdicts += window_verdicts
        on_window(one.name, len(window_verdicts))
    return identity, verdicts


def _log(out: Path, one: Contender, identity: dict[str, str]) -> ResultLog:
    folder = out / "".join(c if c.isalnum() or c in "-_." else "_" for c in one.name).strip("._")
    claim(folder, {"name": one.name, **one.made_from, "identity": identity})
    return ResultLog(folder / results.NAME)


def _result(
    one: Contender,
    suite: Suite,
    identity: dict[str, str],
    verdicts: Sequence[Verdict],
    seed: int,
    resamples: int,
) -> ModelResult:
    judged = tuple(v for v in verdicts if isinstance(v, Judged))
    refused = tuple(v for v in verdicts if isinstance(v, Refusal))
    if not judged:
        reason = f", the first because: {refused[0]}" if refused else ""
        raise InvalidInput(
            f"none of the {len(verdicts)} rows can be judged as {suite.title} by {one.name}{reason}"
        )
    return ModelResult(
        one.name,
        identity,
        suite.report(judged),
        bootstrap.interval(suite.strata(judged), seed, resamples),
        style_report(judged),
        sum(v.truncated for v in judged),
        judged,
        refused,
    )


def _comparisons(
    suite: Suite, done: Sequence[ModelResult], seed: int, resamples: int
) -> Iterator[Comparison]:
    strata = [(one.name, suite.strata(one.judged)) for one in done]
    for a, b in combinations(strata, 2):
        found = bootstrap.compare(b, a, seed, resamples)
        if found is not None:
            yield found
