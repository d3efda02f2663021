"""Request bodies of /v1/score. What cannot be sent is an error of its own, not of the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic_core import to_json

from cluster.data.validation import Reader
from cluster.errors import InvalidInput, RewardError
from cluster.types import Conversation, Message, TokenIds

WINDOW_BYTES = 7 * 2**20
"""Of one body: a service takes 8 MiB, unless it is set otherwise (`http.max_body_bytes`)."""


def json_items(conversations: Sequence[Conversation]) -> list[bytes | RewardError]:
    """Each conversation in the service's form, as JSON, or why it cannot be scored."""
    read = Reader(vocab_size=None)  # the service knows it
    items: list[bytes | RewardError] = []
    for index, conversation in enumerate(conversations):
        try:
            items.append(to_json(_form(read(conversation))))
        except InvalidInput as error:
            items.append(error.at(index))
    return items


def request_body(items: Iterable[bytes], priority: int, deadline_s: float | None) -> bytes:
    """items: of `json_items`. deadline_s: seconds from now, None means the service's own."""
    terms: dict[str, float] = {"priority": int(priority)}
    if deadline_s is not None:
        terms["deadline_s"] = float(deadline_s)
    return b'{"conversations":[%b],%b' % (b",".join(items), to_json(terms)[1:])


def windows(items: Mapping[int, bytes]) -> list[list[int]]:
    """Items that go out together, the next ones last: as many as fit into `WINDOW_BYTES`."""
    found: list[list[int]] = []
    n_bytes = 0
    for i, item in items.items():
        if not found or n_bytes + len(item) > WINDOW_BYTES:
            found.append([])
            n_bytes = 0
        found[-1].append(i)
        n_bytes += len(item) + 1
    return found[::-1]


def halves(window: list[int]) -> list[list[int]]:
    """The next one last."""
    half = len(window) // 2
    return [window[half:], window[:half]]


def _form(conversation: list[Message] | str | TokenIds) -> dict[str, object]:
    if isinstance(conversation, str):
        return {"text": conversation}
    if isinstance(conversation, np.ndarray):
        return {"ids": conversation.tolist()}
    return {"messages": conversation}
