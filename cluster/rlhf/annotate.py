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

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config import EngineConfig
from cluster.engine.checkpoint import load_config, revision
from cluster.errors import ConfigError, InvalidInput, RewardError
from cluster.files import BrokenRow, Row, read_rows, to_json_line
from cluster.rlhf import sources
from cluster.rlhf.scored_by import identity, scored_by
from cluster.rows import ScoredRow, Scorer, score_rows
from cluster.types import Conversation, Score

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

ROWS_A_BLOCK = 64
_TEXT = "__line__"
"""Column of lines yet to be parsed; no column of a table is called so."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """One finished row. line: its JSON; error: why it is rejected, None where it has rewards."""

    line: str
    error: str | None
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


def annotate(source: str, pool: Pool, skip: int = 0) -> Iterator[Annotated]:
    """The rows of `source` from row `skip` on, scored, in order.

    source: a .jsonl or .json file (.gz too), a .parquet file, a folder of either, or a URL of one,
    such as s3://bucket/rows.jsonl. Raises InvalidInput for a source that is not there, ConfigError
    where another model answers than `pool.made_by`, and the RewardError of an item that a retry may
    mend; ask again from the last row that came.
    """
    import ray.data
    from ray.data import ActorPoolStrategy
    from ray.exceptions import RayTaskError

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    blocks = _blocks(source, skip)
    if blocks is None:
        return
    scored = blocks.map_batches(
        _Worker,
        fn_constructor_args=(pool,),
        batch_size=ROWS_A_BLOCK,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pool.n),
        num_gpus=pool.gpus,
        num_cpus=0 if pool.app else 1,
    )
    try:
        for number, row in enumerate(scored.iter_rows(), skip + 1):
            yield Annotated(_numbered(row, number), row["error"] or None, row["n_tokens"])
    except RayTaskError as error:
        raise _cause(error) from None


class _Worker:
    """One member of the pool, in a Ray Data actor."""

    def __init__(self, pool: Pool) -> None:
        self._n_tokens = 0
        self._made_by = pool.made_by
        self._score = self._engine(pool) if pool.app is None else _service(pool.app)

    def __call__(self, block: pa.Table) -> pa.Table:
        import pyarrow as pa

        rows = list(score_rows(_rows(block), self._checked))
        n_tokens, self._n_tokens = self._n_tokens, 0
        return pa.table(
            {
                "line": pa.array([to_json_line(row.value) for row in rows], pa.large_string()),
                "error": pa.array([_reason(row) for row in rows], pa.large_string()),
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

    def _engine(self, pool: Pool) -> Scorer:
        from cluster.engine.offline import OfflineScorer

        return OfflineScorer.load(pool.config).score


def answering(pool: Pool) -> dict[str, str]:
    """The `made_by` of `pool`: by the checkpoint's files, or by asking the service."""
    if pool.app is not None:
        return scored_by(_service(pool.app))
    found = revision(pool.config, getattr(load_config(pool.config), "_commit_hash", None))
    return {"model": pool.config.model, "revision": found, "numerics": pool.config.numerics}


def _service(app: str) -> Scorer:
    from cluster.serving.client import RewardService, connect

    client = connect(app, name=f"annotate-{uuid.uuid4().hex[:8]}", detached=False)
    return RewardService(client=client).score


def _blocks(source: str, skip: int) -> Dataset | None:
    """The input as a data set of blocks, None where nothing is left of it."""
    import ray.data

    found = sources.find(source)
    local = Path(source)
    if local.is_file() and not found.is_parquet:  # line by line, and JSON arrays
        refs: list[Any] = [ray.put(t) for t in _tables(islice(read_rows(local), skip, None))]
        return ray.data.from_arrow_refs(refs) if refs else None
    read = ray.data.read_parquet if found.is_parquet else ray.data.read_text
    data = read(list(found.paths), filesystem=found.filesystem)
    if not found.is_parquet:
        data = data.rename_columns({"text": _TEXT})
    left = data.split_at_indices([skip])[1] if skip else data
    return left if left.take(1) else None


def _tables(rows: Iterable[Row | BrokenRow]) -> Iterator[pa.Table]:
    import pyarrow as pa

    rows = iter(rows)
    while block := list(islice(rows, ROWS_A_BLOCK)):
        texts = [r.text if isinstance(r, BrokenRow) else to_json_line(r.value) for r in block]
        reasons = [r.reason if isinstance(r, BrokenRow) else "" for r in block]
        numbers = [r.number for r in block]
        schema = {"number": pa.int64(), _TEXT: pa.large_string(), "reason": pa.large_string()}
        yield pa.table([numbers, texts, reasons], schema=pa.schema(schema))


def _rows(block: pa.Table) -> Iterator[Row | BrokenRow]:
    """The rows of a block: of ours, of text lines, or of a table with a column a field."""
    for value in block.to_pylist():
        if _TEXT not in block.column_names:
            yield _of_table(value)
        elif value.get("reason"):
            yield BrokenRow(value["number"], value[_TEXT], value["reason"])
        else:
            yield _parsed(value.get("number", 0), value[_TEXT])


def _of_table(value: dict[str, Any]) -> Row | BrokenRow:
    try:
        to_json_line(value)
    except (TypeError, ValueError) as error:  # dates, bytes
        return BrokenRow(0, repr(value), f"cannot be written as JSON ({error}); convert the column")
    return Row(0, value)


def _parsed(number: int, text: str) -> Row | BrokenRow:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BrokenRow(number, text, f"not JSON ({error}); write one object a line")
    if not isinstance(value, dict):
        return BrokenRow(number, text, f"a JSON {type(value).__name__}, not an object with fields")
    return Row(number, value)


def _cause(error: BaseException) -> BaseException:
    """The project's own error that ended a worker's call, if one did."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RewardError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause or error


def _reason(row: ScoredRow) -> str:
    if row.error is None:
        return ""
    return f"{row.error.message} [{row.error.code}]"


def _numbered(row: dict[str, Any], number: int) -> str:
    """The line, an error's row number filled in where only the reader of all rows knows it."""
    line: str = row["line"]
    if not row["error"]:
        return line
    value = json.loads(line)
    value["error"]["line"] = value["error"]["line"] or number
    return to_json_line(value)


def summary_rewards(line: str) -> list[float]:
    """The rewards of a finished line, whichever format it has. Raises InvalidInput."""
    row = json.loads(line)
    for keys in (("rewards",), ("reward",), ("chosen_reward", "rejected_reward")):
        if all(key in row for key in keys):
            values = [row[key] for key in keys]
            return values[0] if keys == ("rewards",) else values
    raise InvalidInput("a finished row has rewards")
