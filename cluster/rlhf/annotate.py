"""Rewards next to every row of a data set, by Ray Data over a pool of engines or a service.

Invariant: one row out for one row in, in the order of the input; a row that cannot be scored is
rejected with its reason and costs the others nothing. What may pass (a service that is not ready)
ends the run instead, to be resumed: it is no property of a row. So does a reward of another model
than the run began with: two models' rewards never stand in one output. Row formats are
`cluster.rows`'s.

Replaces RLHFlow/Online-RLHF's annotate_data/get_rewards.py, which skips rows with fewer responses
than its K and cannot take rows of different lengths. Actors over blocks of rows: LMFlow's design.
Needs a Ray that is initialised; knows nothing of output files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from cluster.config import EngineConfig
from cluster.engine.checkpoint import load_config, revision
from cluster.errors import ConfigError, InvalidInput, RewardError
from cluster.files import BrokenRow, Row, to_json_line
from cluster.reader import parse_text, read_texts
from cluster.rlhf.reward_service import service_scorer
from cluster.rlhf.scored_by import identity, scored_by
from cluster.rows import ScoredRow, Scorer, score_rows
from cluster.types import Conversation, Score

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

ROWS_A_BLOCK = 64


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
    patience_s: float = 600.0
    """Seconds for which a service that does not answer is waited for."""


def annotate(source: str, pool: Pool, skip: int = 0) -> Iterator[Annotated]:
    """The rows of `source` from row `skip` on, scored, in order.

    source: see `cluster.input_files.find_input`. Raises InvalidInput for a source that is not
    there, ConfigError where another model answers than `pool.made_by`, and the RewardError of an
    item that a retry may fix; ask again from the last row that came.
    """
    import ray.data
    from ray.data import ActorPoolStrategy
    from ray.exceptions import RayTaskError

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    scored = _blocks(source, skip).map_batches(
        _Worker,
        fn_constructor_args=(pool,),
        batch_size=ROWS_A_BLOCK,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pool.n),
        num_gpus=pool.gpus,
        num_cpus=0 if pool.app else 1,
    )
    try:
        for row in scored.iter_rows():
            yield Annotated(**row)
    except RayTaskError as error:
        raise _cause(error) from None


class _Worker:
    """One member of the pool, in a Ray Data actor."""

    def __init__(self, pool: Pool) -> None:
        self._n_tokens = 0
        self._made_by = pool.made_by
        self._score = _scorer(pool)

    def __call__(self, block: pa.Table) -> pa.Table:
        import pyarrow as pa

        rows = list(score_rows(_rows(block), self._checked))
        n_tokens, self._n_tokens = self._n_tokens, 0
        texts = pa.list_(pa.large_string())
        return pa.table(
            {
                "line": pa.array([to_json_line(row.value) for row in rows], pa.large_string()),
                "rewards": pa.array([_rewards(row) for row in rows], pa.list_(pa.float64())),
                "errors": pa.array([_told(row) for row in rows], texts),
                "rejected": [row.error is not None for row in rows],
                "n_tokens": pa.array([n_tokens] + [0] * (len(rows) - 1), pa.int64()),
            }
        )

    def _checked(self, conversations: Sequence[Conversation]) -> Sequence[Score | RewardError]:
        results = self._score(conversations)
        for result in results:
            if isinstance(result, Score):
                self._n_tokens += result.n_tokens
                self._check(identity(result))
            elif result.retryable:
                raise result
        return results

    def _check(self, answered: Mapping[str, str]) -> None:
        if self._made_by and answered != self._made_by:
            raise ConfigError(
                f"the rewards are of {dict(answered)} now; the run began with {dict(self._made_by)}"
            )


def answering(pool: Pool) -> dict[str, str]:
    """The `made_by` of `pool`: by the checkpoint's files, or by asking the service."""
    if pool.app is not None:
        return scored_by(_scorer(pool))
    found = revision(pool.config, getattr(load_config(pool.config), "_commit_hash", None))
    return {"model": pool.config.model, "revision": found, "numerics": pool.config.numerics}


def _scorer(pool: Pool) -> Scorer:
    if pool.app is not None:
        return service_scorer(pool.app, pool.patience_s)
    from cluster.engine.offline import OfflineScorer

    return OfflineScorer.load(pool.config).score


def _blocks(source: str, skip: int) -> Dataset:
    """The input as a data set of blocks, read as they are wanted and in order."""
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class Rows(Datasource):
        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
            return [ReadTask(lambda: _tables(source, skip), BlockMetadata(None, None, None))]

    make: Any = Rows  # its base is untyped
    rows: Dataset = ray.data.read_datasource(make(), override_num_blocks=1)
    return rows


def _tables(source: str, skip: int) -> Iterator[pa.Table]:
    """Blocks of (number, text, reason), at least one, which may be empty."""
    import pyarrow as pa

    fields = [("number", pa.int64()), ("text", pa.large_string()), ("reason", pa.large_string())]
    rows = read_texts(source, skip)
    while block := list(islice(rows, ROWS_A_BLOCK)):
        columns = [list(column) for column in zip(*block, strict=True)]
        yield pa.table(columns, schema=pa.schema(fields))
    yield pa.schema(fields).empty_table()


def _rows(block: pa.Table) -> Iterator[Row | BrokenRow]:
    for row in block.to_pylist():
        if row["reason"]:
            yield BrokenRow(**row)
        else:
            yield parse_text(row["number"], row["text"])


def _cause(error: BaseException) -> BaseException:
    """The project's own error that ended a worker's call, if one did."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RewardError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause or error


def _rewards(row: ScoredRow) -> list[float]:
    return [] if row.error is not None else rewards_of(row.value)


def _told(row: ScoredRow) -> list[str]:
    return [f"line {row.number}: {error.message} [{error.code}]" for error in row.errors]


def rewards_of(row: Mapping[str, Any]) -> list[float]:
    """The rewards of a finished row, whichever format it has. Raises InvalidInput."""
    for keys in (("rewards",), ("chosen_reward", "rejected_reward"), ("reward",)):
        if all(key in row for key in keys):
            values = row["rewards"] if keys == ("rewards",) else [row[key] for key in keys]
            return [reward for reward in values if reward is not None]
    raise InvalidInput("a finished row has rewards")
