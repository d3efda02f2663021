"""Annotation pool: rewards for rows by engines on Ray or a running service, in order.

Invariant: one row out for one row in, in the order of the input; a row that cannot be scored is
rejected with its reason and costs the others nothing. A temporary failure (a service that is not
ready) ends the run instead, to be resumed, since it is not a row's fault. So does a reward of
another model than the run began with: one output never holds rewards of two models. Row formats are
`cluster.data.formats`'s.

Replaces RLHFlow/Online-RLHF's annotate_data/get_rewards.py, which skips rows with fewer responses
than its K and cannot take rows of different lengths. Actors over blocks of rows: LMFlow's design.
Needs an initialised Ray; knows nothing of output files.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cluster.config import EngineConfig, TransformConfig
from cluster.data.call_results import raise_retryable
from cluster.data.formats import ScoredRow, Scorer, score_rows
from cluster.data.jsonl import BrokenRow, Row, to_json_line
from cluster.data.reader import parse_text, read_texts
from cluster.data.transforms import record
from cluster.engine.checkpoint import load_config, revision
from cluster.errors import ConfigError, RewardError
from cluster.rlhf.reward_service import PATIENCE_S, scorer
from cluster.rlhf.runs.reward_model_id import identity, scored_by
from cluster.types import Conversation, Score

ROWS_A_BLOCK = 64
Text = tuple[int, str, str]
"""A row as `read_texts` gives it."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """One finished row.

    line: its JSON.  rewards: of what was scored.  errors: a message for each failure in it.
    rejected: whether nothing of it was scored.
    """

    line: str
    rewards: list[float]
    errors: list[str]
    rejected: bool
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Pool:
    """What scores: `n` engines of `config`, or `n` callers of the running service `app`.

    made_by: the model, revision and numerics that every score must name; {} takes any.
    """

    config: EngineConfig
    made_by: Mapping[str, str] = field(default_factory=dict)
    n: int = 1
    gpus: float = 0.0
    app: str | None = None
    patience_s: float = PATIENCE_S
    """Seconds to wait for a service that does not answer."""
    transforms: tuple[TransformConfig, ...] = ()
    """Transforms recorded next to the raw rewards."""

    def scorer(self) -> Scorer:
        """The scorer of one of its members, in this process."""
        return scorer(self.config, self.app, self.patience_s)


def annotate(source: str, pool: Pool, skip: int = 0) -> Iterator[Annotated]:
    """The rows of `source` from row `skip` on, scored, in order.

    source: see `cluster.data.input_files.find_input`. Raises InvalidInput for a source that is not
    there, ConfigError where another model answers than `pool.made_by`, and the RewardError of an
    item that a retry may fix; then call again from the last row received.
    """
    import ray
    from ray.exceptions import RayTaskError

    make: Any = ray.remote(_Worker).options(
        num_gpus=pool.gpus,
        num_cpus=0 if pool.app else 1,
        max_restarts=-1,
        max_task_retries=-1,
    )
    workers = [make.remote(pool) for _ in range(pool.n)]
    try:
        for ref in _in_order(workers, _blocks(read_texts(source, skip))):
            yield from ray.get(ref)
    except RayTaskError as error:
        raise _cause(error) from None
    finally:
        for worker in workers:
            ray.kill(worker)


def _in_order(workers: Sequence[Any], blocks: Iterable[list[Text]]) -> Iterator[Any]:
    """References to the blocks' results, in order; two blocks per worker are under way."""
    import ray

    under_way: deque[Any] = deque()
    busy: dict[Any, Any] = {}
    for block in blocks:
        if len(under_way) >= 2 * len(workers):
            yield under_way.popleft()
        done = set(ray.wait(list(busy), num_returns=len(busy), timeout=0)[0]) if busy else set()
        busy = {ref: worker for ref, worker in busy.items() if ref not in done}
        loads = Counter(busy.values())
        worker = min(workers, key=lambda one: loads[one])
        ref = worker.annotate.remote(block)
        busy[ref] = worker
        under_way.append(ref)
    yield from under_way


class _Worker:
    """One member of the pool, a Ray actor."""

    def __init__(self, pool: Pool) -> None:
        self._n_tokens = 0
        self._made_by = pool.made_by
        self._transforms = pool.transforms
        self._score = pool.scorer()

    def annotate(self, block: Sequence[Text]) -> list[Annotated]:
        """The rows of one block."""
        rows = list(score_rows(map(_row, block), self._checked))
        n_tokens, self._n_tokens = self._n_tokens, 0
        return [
            Annotated(
                to_json_line(self._recorded(row.value)),
                list(row.rewards),
                _told(row),
                row.error is not None,
                n_tokens if i == 0 else 0,
            )
            for i, row in enumerate(rows)
        ]

    def _recorded(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return record(row, self._transforms) if self._transforms else row

    def _checked(self, conversations: Sequence[Conversation]) -> Sequence[Score | RewardError]:
        results = self._score(conversations)
        raise_retryable(results)
        for result in results:
            if isinstance(result, Score):
                self._n_tokens += result.n_tokens
                self._check(identity(result))
        return results

    def _check(self, answered: Mapping[str, str]) -> None:
        if self._made_by and answered != self._made_by:
            raise ConfigError(
                f"the service now serves {dict(answered)} but this run began with "
                f"{dict(self._made_by)}; serve that model again or use a new output"
            )


def answering(pool: Pool) -> dict[str, str]:
    """The `made_by` of `pool`: by the checkpoint's files, or by asking the service."""
    if pool.app is not None:
        return scored_by(pool.scorer())
    found = revision(pool.config, getattr(load_config(pool.config), "_commit_hash", None))
    return {"model": pool.config.model, "revision": found, "numerics": pool.config.numerics}


def _blocks(rows: Iterator[Text]) -> Iterator[list[Text]]:
    while block := list(islice(rows, ROWS_A_BLOCK)):
        yield block


def _row(text: Text) -> Row | BrokenRow:
    number, line, reason = text
    return BrokenRow(number, line, reason) if reason else parse_text(number, line)


def _cause(error: BaseException) -> BaseException:
    """The project's own error that ended a worker's call, if one did."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RewardError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause or error


def _told(row: ScoredRow) -> list[str]:
    return [f"line {row.number}: {error.message} [{error.code}]" for error in row.errors]
