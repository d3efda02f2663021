"""Demo chats: prompts with responses to choose from, and which one a person prefers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from cluster.data.formats import prompt_messages
from cluster.data.jsonl import BrokenRow
from cluster.data.reader import read_rows
from cluster.data.validation import check_messages
from cluster.errors import InvalidInput
from cluster.types import Chat


@dataclass(frozen=True, slots=True)
class DemoGroup:
    """One prompt and its responses.  person: index of the response that a person prefers."""

    prompt: Chat
    responses: Sequence[str]
    person: int | None = None

    @property
    def conversations(self) -> list[tuple[Chat, str]]:
        """The chats to score, one per response."""
        return [(self.prompt, response) for response in self.responses]


def packaged_chats() -> Path:
    """Path of the chats in the package, each marked with a person's choice."""
    return Path(str(files("cluster") / "assets" / "demo.jsonl"))


def read_demo_groups(source: Path) -> Iterator[DemoGroup]:
    """Rows of `prompt` (messages or a string), `responses` (strings) and optionally `person`.

    Raises InvalidInput, naming the line.
    """
    for row in read_rows(source):
        try:
            group = _group({} if isinstance(row, BrokenRow) else row.value)
        except InvalidInput as error:
            raise InvalidInput(f"{source}, line {row.number}: {error}") from None
        yield group


def _group(row: Mapping[str, Any]) -> DemoGroup:
    prompt, responses = row.get("prompt"), row.get("responses")
    if not prompt or not responses:
        raise InvalidInput("give `prompt` and `responses`")
    if not isinstance(responses, list) or not all(isinstance(each, str) for each in responses):
        raise InvalidInput("`responses` must be a list of strings")
    chat = check_messages(prompt_messages(prompt))
    return DemoGroup(chat, responses, _person(row, len(responses)))


def _person(row: Mapping[str, Any], n_responses: int) -> int | None:
    found = row.get("person")
    if found is None:
        return None
    if type(found) is not int or not 0 <= found < n_responses:
        last = n_responses - 1
        raise InvalidInput(f"`person` is {found!r}; give a whole number from 0 to {last}")
    return found
