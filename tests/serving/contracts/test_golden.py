"""Each dialect's requests and answers, word for word, through the real app.

A file a dialect. `asked`: the conversations that the service was asked for; `rewards`: what it
answered; `*` in a response stands for any value. Bodies that are more than JSON stand as `content`
and `response_content`, a character a byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from starlette.testclient import TestClient
from support.http import FakeScorer, made_score

from cluster.types import Dialect

Connect = Callable[..., TestClient]
FILES = sorted(Path(__file__).parent.glob("*.json"))
EXCHANGES = [
    pytest.param(file.stem, exchange, id=f"{file.stem}: {exchange['name']}")
    for file in FILES
    for exchange in json.loads(file.read_text())
]


@pytest.mark.parametrize(("dialect", "exchange"), EXCHANGES)
def test_a_request_is_answered_as_its_protocol_says(
    connect: Connect, scorer: FakeScorer, dialect: str, exchange: dict[str, Any]
) -> None:
    scorer.instead = [made_score(reward) for reward in exchange.get("rewards", ())]
    client = connect(**({"dialects": (dialect,)} | exchange.get("config", {})))
    content = exchange.get("content", "").encode("latin-1")
    answer = client.request(
        exchange.get("method", "POST"),
        exchange["path"],
        headers=exchange.get("headers"),
        **({"json": exchange["request"]} if "request" in exchange else {"content": content}),
    )
    assert answer.status_code == exchange.get("status", 200), answer.text
    if "response" in exchange:
        assert masked(answer.json(), exchange["response"]) == exchange["response"]
    else:
        assert answer.content == exchange["response_content"].encode("latin-1")
    wanted = exchange.get("response_headers", {})
    assert {name: answer.headers.get(name) for name in wanted} == wanted
    asked = [plain(each) for conversations, *_ in scorer.asked for each in conversations]
    assert asked == exchange.get("asked", [])


def test_every_dialect_has_its_file() -> None:
    assert [file.stem for file in FILES] == sorted(get_args(Dialect))


def masked(found: Any, wanted: Any) -> Any:
    """`found`, with `*` where `wanted` has it and anything stands."""
    if wanted == "*" and found is not None:
        return "*"
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {key: masked(value, wanted.get(key)) for key, value in found.items()}
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [masked(f, w) for f, w in zip(found, wanted, strict=True)]
    return found


def plain(conversation: Any) -> Any:
    """As JSON has it."""
    if isinstance(conversation, np.ndarray):
        return conversation.tolist()
    return list(conversation) if isinstance(conversation, tuple) else conversation
