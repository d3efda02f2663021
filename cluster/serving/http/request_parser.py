"""Request parsing: a JSON body -> the conversations to score, each with its place.

What is wrong with one item is an error at its place (`item_parser`); what is wrong with the body is
raised. The contract in words is `schemas`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.config import HttpConfig, TransformConfig
from cluster.errors import InvalidInput, TooLong
from cluster.serving.call_options import check_call_options
from cluster.serving.http.item_parser import QueryItem, group_conversations, query_items
from cluster.serving.http.json_body import kind, refuse_unknown_keys, whole_number
from cluster.serving.scoring.token_limit import too_many_tokens
from cluster.serving.scoring.transformed import parse_transforms
from cluster.types import Conversation

CHARS_PER_TOKEN = 16
"""No tokenizer has longer tokens on average over a text (English: 4 to 5)."""
TERMS = ("priority", "deadline_s", "transforms")
"""Keys of a body besides what is to be scored."""


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """A whole request. least_tokens: a lower bound of its tokens. deadline_s: from now.

    transforms: recorded beside the raw rewards.
    """

    wanted: list[QueryItem]
    least_tokens: int
    priority: int
    deadline_s: float
    transforms: tuple[TransformConfig, ...] = ()


def score_query(body: Mapping[str, Any], limits: HttpConfig) -> ScoreQuery:
    """The query of a body of /v1/score. Raises InvalidInput or TooLong."""
    refuse_unknown_keys(body, {"conversations", *TERMS})
    items = body.get("conversations")
    if not isinstance(items, list):
        raise InvalidInput(f"`conversations` must be a list, not {_given(body, 'conversations')}")
    wanted: list[QueryItem] = []
    for index, item in enumerate(items):
        wanted.extend(query_items(index, item))
        if len(wanted) > limits.max_items:
            raise _too_many(limits.max_items)
    return _query(body, wanted, limits)


def flat_query(
    conversations: Sequence[Conversation | InvalidInput], priority: int, limits: HttpConfig
) -> ScoreQuery:
    """The query of another dialect's body. Raises TooLong."""
    if len(conversations) > limits.max_items:
        raise _too_many(limits.max_items)
    wanted = [QueryItem(i, None, each) for i, each in enumerate(conversations)]
    terms = {"priority": min(priority, limits.max_priority), "transforms": []}
    return _query(terms, wanted, limits)


def rank_query(body: Mapping[str, Any], limits: HttpConfig) -> ScoreQuery:
    """The query of a body of /v1/rank: one group. Raises InvalidInput or TooLong."""
    refuse_unknown_keys(body, {"prompt", "responses", *TERMS})
    group = [QueryItem(0, i, found) for i, found in enumerate(group_conversations(body))]
    if len(group) > limits.max_items:
        raise _too_many(limits.max_items)
    return _query(body, group, limits)


def _query(body: Mapping[str, Any], wanted: list[QueryItem], limits: HttpConfig) -> ScoreQuery:
    least = least_tokens(wanted)
    if least > limits.max_tokens_per_request:
        raise too_many_tokens(limits.max_tokens_per_request)
    given, deadline_s, asked = (body.get(name) for name in TERMS)
    whole = 0 if given is None else whole_number(given)
    priority: Any = given if whole is None else whole
    if type(deadline_s) is int:  # JSON knows whole numbers that no float holds
        deadline_s = min(deadline_s, math.ceil(limits.deadline_s))
    check_call_options(priority, deadline_s)
    if priority > limits.max_priority:
        raise InvalidInput(f"priority over HTTP must be at most {limits.max_priority}")
    if deadline_s is None:
        deadline_s = limits.deadline_s
    if not deadline_s > 0:
        raise InvalidInput("deadline_s must be a number of seconds above 0")
    return ScoreQuery(
        wanted,
        least,
        priority,
        float(min(deadline_s, limits.deadline_s)),
        limits.transforms if asked is None else parse_transforms(asked),
    )


def least_tokens(wanted: Sequence[QueryItem]) -> int:
    """A lower bound of the request's tokens, found without a tokenizer: a small body may ask for
    millions, since every response of a group brings the whole prompt with it."""
    known: dict[int, int] = {}  # by identity: the responses of a group share one prompt
    total = 0
    for each in wanted:
        found = each.conversation
        if isinstance(found, InvalidInput):
            continue
        if isinstance(found, tuple):
            if id(found[0]) not in known:
                known[id(found[0])] = _least_of(found[0])
            total += known[id(found[0])] + _least_of(found[1])
        else:
            total += _least_of(found)
    return total


def _least_of(part: Any) -> int:
    if isinstance(part, np.ndarray):
        return len(part)
    if isinstance(part, str):
        return len(part) // CHARS_PER_TOKEN
    contents = (m.get("content") for m in part if isinstance(m, dict))
    return len(part) + sum(map(_n_chars, contents)) // CHARS_PER_TOKEN


def _n_chars(content: Any) -> int:
    """Of a text, or of the text parts of a list; 0 for what is neither."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return sum(len(text) for text in texts if isinstance(text, str))
    return len(content) if isinstance(content, str) else 0


def _given(body: Mapping[str, Any], key: str) -> str:
    return kind(body[key]) if key in body else "missing"


def _too_many(max_items: int) -> TooLong:
    return TooLong(
        f"more than {max_items} conversations; split the request, or raise http.max_items"
    )
