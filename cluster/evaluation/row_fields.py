"""Row fields shared by several suites: candidates, prompts, labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.data.formats import ask_of
from cluster.data.jsonl import Row
from cluster.errors import InvalidInput
from cluster.evaluation.types import Candidate, Item, SourcedRow
from cluster.types import Conversation


def need(row: Mapping[str, Any], name: str) -> Any:
    """A field that must be there. Raises InvalidInput."""
    if row.get(name) is None:
        raise InvalidInput(f"`{name}` is missing")
    return row[name]


def replies(prompt: Any, responses: Mapping[str, Any]) -> tuple[Candidate, ...]:
    """Responses to one prompt, by the name of their field. Raises InvalidInput naming the field."""
    found = []
    for name, response in responses.items():
        if not isinstance(response, str):
            raise InvalidInput(f"`{name}` must be a string, not {type(response).__name__}")
        [conversation] = ask_of({"prompt": prompt, "response": response}).conversations
        found.append(Candidate(name, conversation, response))
    return tuple(found)


def chosen_and_rejected(row: Mapping[str, Any]) -> tuple[Candidate, Candidate]:
    """The better and the worse of `chosen` and `rejected`, or of LLMBar's outputs by its label.

    Raises InvalidInput where the row is no pair.
    """
    if isinstance(row.get("chosen"), list) and all(isinstance(c, str) for c in row["chosen"]):
        raise InvalidInput(
            "`chosen` is a list of responses, as in RewardBench 2 (suite `rewardbench2`) and "
            "RM-Bench (suite `rm-bench`)"
        )
    ask = ask_of(row)
    if len(ask.conversations) != 2 or ask.keys == ("rewards",):
        raise InvalidInput("a pair has `prompt`, `chosen` and `rejected`")
    better, worse = (
        Candidate(field, conversation, last_text(conversation))
        for field, conversation in zip(ask.fields, ask.conversations, strict=True)
    )
    return better, worse


def pair_item(
    sourced: SourcedRow,
    row: Row,
    subset: str,
    pair: Sequence[Candidate],
    facts: Mapping[str, Any] | None = None,
    id: str | None = None,
) -> Item:
    """An item of two candidates, the better one first."""
    name = str(row.value.get("id", "")) if id is None else id
    return Item(
        sourced.source, row.number, name, subset, tuple(pair), (1.0, 0.0), ((0, 1),), facts or {}
    )


def last_text(conversation: Conversation) -> str:
    """The text of the response that a conversation ends with."""
    if isinstance(conversation, str):
        return conversation
    if isinstance(conversation, tuple) and len(conversation) == 2:
        return str(conversation[1])
    last = conversation[-1] if len(conversation) else ""
    return str(last.get("content", "")) if isinstance(last, dict) else ""
