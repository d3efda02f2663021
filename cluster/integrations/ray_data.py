"""Reward processor for Ray Data, in the style of `ray.data.llm.build_processor`.

    scored = build_processor(RewardProcessorConfig())(dataset)

Rows have `messages`, or `prompt` and `response`, as `preprocess` makes them; they get `reward`
(null if it could not be scored) and `reward_error` ("" if it could). Ray's own
`ServeDeploymentProcessorConfig(deployment_name="Ingress", app_name="reward")`, with
`method="score_row"` in each row, calls the same service, one row per request: ray/data/llm.py and
ray/llm/_internal/batch/stages/serve_deployment_stage.py, Ray 2.60.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cluster.data.call_results import or_error, valid_items, with_errors
from cluster.data.rewards import rewards_of
from cluster.errors import InvalidInput
from cluster.integrations.chats import chat, whole_chat
from cluster.integrations.service import hook_service
from cluster.types import Conversation, Score

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RewardProcessorConfig:
    """url, app, key: of the service, see `cluster.integrations.service`.
    batch_size: rows per call. concurrency: calls at a time; None leaves it to Ray Data."""

    url: str | None = None
    app: str | None = None
    key: str | None = None
    batch_size: int = 256
    concurrency: int | None = None


def build_processor(
    config: RewardProcessorConfig | None = None,
    preprocess: Callable[[Row], Row] | None = None,
    postprocess: Callable[[Row], Row] | None = None,
) -> Callable[[Dataset], Dataset]:
    """A function of a data set. preprocess: columns to add to each row.  postprocess: the row that
    remains of each scored one. What the service fails to answer ends the data set's run."""
    settings = config or RewardProcessorConfig()

    def process(dataset: Dataset) -> Dataset:
        if preprocess is not None:
            dataset = dataset.map(lambda row: {**row, **preprocess(row)})
        scored = dataset.map_batches(
            partial(score_table, url=settings.url, app=settings.app, key=settings.key),
            batch_size=settings.batch_size,
            batch_format="pyarrow",
            concurrency=settings.concurrency,
        )
        return scored if postprocess is None else scored.map(postprocess)

    return process


def score_table(table: pa.Table, url: str | None, app: str | None, key: str | None) -> pa.Table:
    """The table with its two new columns, all its rows by one call."""
    import pyarrow as pa

    asked = [or_error(_conversation, row) for row in table.to_pylist()]
    results = with_errors(asked, hook_service(url, app, key).score(valid_items(asked)))
    rewards = rewards_of(results, failed=None)
    errors = ["" if isinstance(r, Score) else f"{r.message} [{r.code}]" for r in results]
    scored = table.append_column("reward", pa.array(rewards, pa.float64()))
    return scored.append_column("reward_error", pa.array(errors, pa.string()))


def _conversation(row: Mapping[str, Any]) -> Conversation:
    if row.get("messages") is not None:
        return whole_chat(row["messages"])
    if row.get("prompt") is None or row.get("response") is None:
        raise InvalidInput("a row needs `messages`, or `prompt` and `response`; see preprocess")
    return chat(row["prompt"], row["response"])
