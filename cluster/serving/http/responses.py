"""Response rendering: results -> the JSON body and status of /v1/score and /v1/rank.

200 if there is at least one reward (or none was asked for); failed items carry their errors. If
nothing could be scored the whole call has failed, with the status of its representative error
(`errors.representative_error`) and every item's error in `results`. Shape legend: N rewards asked
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Response
from pydantic_core import to_json

from cluster.errors import Overloaded, RewardError
from cluster.serving.http.errors import detail, error_response, representative_error, retry_after
from cluster.serving.http.inspector import TokenizedChat
from cluster.serving.http.item_parser import QueryItem
from cluster.serving.http.request_parser import ScoreQuery
from cluster.serving.scoring.transformed import as_json
from cluster.types import Score

Result = Score | RewardError


def score_response(query: ScoreQuery, results_N: Sequence[Result], request_id: str) -> Response:
    """Results in the order of the request."""
    entries = [_entry(w, r) for w, r in zip(query.wanted, results_N, strict=True)]
    return _response("results", entries, query, results_N, request_id)


def rank_response(query: ScoreQuery, results_N: Sequence[Result], request_id: str) -> Response:
    """Best first by raw reward; ties in the request's order; errors last."""
    order = sorted(range(len(results_N)), key=lambda i: _rank(results_N[i]))
    entries = [_entry(query.wanted[i], results_N[i]) for i in order]
    return _response("ranking", entries, query, results_N, request_id)


def tokenize_response(
    query: ScoreQuery, results_N: Sequence[TokenizedChat | RewardError], request_id: str
) -> Response:
    """The tokens of each conversation, in the order of the request."""
    entries = [_entry(w, r) for w, r in zip(query.wanted, results_N, strict=True)]
    if failed := _failed(query, results_N, entries, request_id):
        return failed
    return Response(to_json({"results": entries}), media_type="application/json")


def _response(
    name: str,
    entries: list[dict[str, Any]],
    query: ScoreQuery,
    results_N: Sequence[Result],
    request_id: str,
) -> Response:
    if failed := _failed(query, results_N, entries, request_id):
        return failed
    refused = next((result for result in results_N if isinstance(result, Overloaded)), None)
    headers = None if refused is None else retry_after(refused)
    scores = [result for result in results_N if isinstance(result, Score)]
    body: dict[str, Any] = {
        "model": _common([score.model for score in scores]),
        "revision": _common([score.revision for score in scores]),
        name: entries,
    }
    if query.transforms:
        body["transforms"] = as_json(query.transforms)
    return Response(to_json(body), headers=headers, media_type="application/json")


def _failed(
    query: ScoreQuery, results_N: Sequence[object], entries: list[dict[str, Any]], request_id: str
) -> Response | None:
    """The answer if something was asked for and nothing could be scored; else None."""
    errors = [
        result.at(wanted.item)
        for wanted, result in zip(query.wanted, results_N, strict=True)
        if isinstance(result, RewardError)
    ]
    if errors and len(errors) == len(results_N):
        return error_response(representative_error(errors), request_id, entries)
    return None


def _entry(wanted: QueryItem, result: Result | TokenizedChat) -> dict[str, Any]:
    entry: dict[str, Any] = {"item": wanted.item}
    if wanted.response is not None:
        entry["response"] = wanted.response
    if isinstance(result, RewardError):
        entry["error"] = detail(result.at(wanted.item))
        return entry
    for name in result.__slots__:
        entry[name] = getattr(result, name)
    if entry.get("transformed_reward", 0) is None:
        del entry["transformed_reward"]
    return entry


def _rank(result: Result) -> float:
    return -result.reward if isinstance(result, Score) else float("inf")


def _common(values: Sequence[str]) -> str | None:
    """The value that all results share; None if they differ (new weights are replacing old ones) or
    there are none."""
    return values[0] if values and all(value == values[0] for value in values) else None
