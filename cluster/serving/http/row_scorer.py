"""Row scorer: one data-set row per call of a Serve handle, as Ray Data's processors call a
deployment.

A row has `messages`, `prompt` and `response`, `text` or `ids`, as an item of /v1/score, and may
have `priority` and `deadline_s`. Unlike HTTP it waits for room in the queue: a data set is in no
hurry, and its processor would end at the first refusal. Knows nothing of HTTP.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from cluster.errors import InvalidInput, RevisionChanged, RewardError
from cluster.serving.batching.batcher_client import BatcherClient
from cluster.serving.call_options import CallOptions, check_call_options
from cluster.serving.http.item_parser import one_conversation
from cluster.serving.metrics import ServingMetrics
from cluster.serving.scoring.conversation_scorer import ConversationScorer

OF_THE_PROCESSOR = ("request_id", "idx_in_batch")
"""Keys that Ray Data adds to every row's request."""


class RowScorer:
    """n_inside: rows that are being scored."""

    def __init__(self, app: str, metrics: ServingMetrics) -> None:
        self._scorer = ConversationScorer(BatcherClient(app))
        self._metrics = metrics
        self.n_inside = 0

    async def score(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the row's Score. Raises its RewardError."""
        try:
            return await self._scored(row)
        except (InvalidInput, RevisionChanged) as error:  # the batcher counts its own
            self._metrics.error(error.code)
            raise

    async def _scored(self, row: Mapping[str, Any]) -> dict[str, Any]:
        terms = {name: row.get(name) for name in ("priority", "deadline_s")}
        item = {k: v for k, v in row.items() if k not in terms and k not in OF_THE_PROCESSOR}
        check_call_options(terms["priority"] or 0, terms["deadline_s"])
        conversation = one_conversation(_plain(item))
        deadline = terms["deadline_s"] and time.monotonic() + terms["deadline_s"]
        self.n_inside += 1
        try:
            options = CallOptions(terms["priority"] or 0, deadline)
            [result] = await self._scorer.score(1, _single(conversation), options)
        finally:
            self.n_inside -= 1
        if isinstance(result, RewardError):
            raise result
        return asdict(result)


async def _single(conversation: Any) -> AsyncIterator[Mapping[int, Any]]:
    yield {0: conversation}


def _plain(value: Any) -> Any:
    """A row as plain Python: Arrow's columns arrive as arrays, and absent fields of a struct as
    None."""
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value.tolist()]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return value
