"""Fields of foreign bodies: texts, token ids, messages and flags, each checked once here.

Unlike the native route these tolerate unknown keys, as the servers they stand for do.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from cluster.config import MAX_PRIORITY
from cluster.data.call_results import or_error
from cluster.errors import EmptyInput, InvalidInput
from cluster.serving.http.dialects.endpoint import Asked, Body
from cluster.serving.http.json_body import kind
from cluster.types import Conversation

CUT_BY_THE_SERVICE = (
    "text is cut on the left where the service is configured with `engine.truncate: left`"
)


def required(body: Body, *names: str) -> Any:
    """The value of the first of `names` that is present. Raises InvalidInput."""
    for name in names:
        if body.get(name) is not None:
            return body[name]
    raise InvalidInput(f"give `{names[0]}`")


def flag(body: Body, *names: str, default: bool) -> bool:
    """The first of `names` that is present and not null, else `default`. Raises InvalidInput."""
    for name in names:
        value = body.get(name)
        if value is not None:
            if not isinstance(value, bool):
                raise InvalidInput(f"`{name}` must be true, false or null, not {kind(value)}")
            return value
    return default


def text(value: Any, name: str) -> str:
    """A text that is not empty. Raises InvalidInput."""
    if not isinstance(value, str):
        raise InvalidInput(f"`{name}` must be a string, not {kind(value)}")
    if not value.strip():
        raise EmptyInput(f"`{name}` is empty; give the text to score")
    return value


def texts(value: Any, name: str) -> Asked:
    """The texts of a list; an item that is not a text is an error at its place. Raises
    InvalidInput."""
    return (or_error(text, each, name) for each in _list(value, name))


def texts_or_ids(value: Any, name: str) -> tuple[Asked, bool]:
    """A text, texts, ids or lists of ids; and whether it was a single one. Raises InvalidInput."""
    if isinstance(value, str):
        return [text(value, name)], True
    found = _list(value, name)
    if not found:
        raise EmptyInput(f"`{name}` is empty; give at least one text")
    if isinstance(found[0], int | float):
        return [token_ids(found, name)], True
    read: Callable[[Any, str], Conversation] = token_ids if isinstance(found[0], list) else text
    return (or_error(read, each, name) for each in found), False


def token_ids(value: Any, name: str) -> Conversation:
    """Whole numbers that are ids of this model. Raises InvalidInput."""
    ids = _list(value, name)
    if not ids or set(map(type, ids)) != {int}:
        raise InvalidInput(f"`{name}` must be texts, or lists of at least one whole number")
    try:
        return np.array(ids, np.int64)
    except OverflowError:
        raise InvalidInput(f"`{name}` holds a number far outside the vocabulary") from None


def messages(value: Any, name: str = "messages") -> Conversation:
    """A chat; its messages are checked by the encoder. Raises InvalidInput."""
    found = _list(value, name)
    if not found or not all(isinstance(each, dict) for each in found):
        raise InvalidInput(f"`{name}` must be a list of at least one message")
    return found


def pairs(first: Any, second: Any, names: tuple[str, str]) -> Asked:
    """(prompt, response) of two texts or lists; a single first one goes with each second.

    Raises InvalidInput for lists of different lengths.
    """
    prompts, responses = _listed(first), _listed(second)
    if not prompts or not responses:
        raise InvalidInput(f"`{names[0]}` and `{names[1]}` must hold at least one text each")
    if len(prompts) == 1:
        prompts = prompts * len(responses)
    if len(prompts) != len(responses):
        raise InvalidInput(
            f"{len(prompts)} `{names[0]}` and {len(responses)} `{names[1]}`: give one of "
            "the first, or as many as of the second"
        )
    return (or_error(_pair, p, r, names) for p, r in zip(prompts, responses, strict=True))


def base64_asked(body: Body) -> bool:
    """Whether `encoding_format` is base64. Raises InvalidInput."""
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise InvalidInput("`encoding_format` must be float or base64")
    return bool(encoding == "base64")


def packed(value: float, as_base64: bool) -> str | list[float]:
    """A vector of one number, as `encoding_format` asks for it."""
    return base64.b64encode(struct.pack("<f", value)).decode() if as_base64 else [value]


def priority(body: Body) -> int:
    """`priority`, where higher is sooner. Raises InvalidInput."""
    given = body.get("priority")
    if given is None:
        return 0
    if type(given) is not int:
        raise InvalidInput(f"`priority` must be a whole number, not {kind(given)}")
    return max(-MAX_PRIORITY, min(MAX_PRIORITY, given))


def _pair(prompt: Any, response: Any, names: tuple[str, str]) -> Conversation:
    return text(prompt, names[0]), text(response, names[1])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInput(f"`{name}` must be a list, not {kind(value)}")
    return value
