"""Row formats: a row of a data file -> conversations to score -> the row with its rewards.

Invariant: every row comes out once, in order, its other fields untouched, carrying either its
rewards or an `error`, never both and never neither. Of several `responses` those that cannot be
scored have null among the rewards and say why in `reward_errors`; a row none of whose responses can
be scored has an `error`. Formats, the first that fits:

    chosen + rejected (+ prompt)            -> chosen_reward, rejected_reward
    input + output_1 + output_2 + label     -> chosen_reward, rejected_reward   (LLMBar)
    prompt + responses                      -> rewards
    prompt + response                       -> reward
    messages                                -> reward

A field is a list of messages or a string. A string `prompt` (or `input`) is one user message, a
string response one assistant message. A string that begins with "\\n\\nHuman:" is an HH-RLHF
dialogue: every "\\n\\nHuman:" or "\\n\\nAssistant:" opens a user or assistant turn, whose text is
stripped; an empty assistant turn that ends a prompt is dropped. Any other string in place of a
whole conversation is text that is already templated. A list of messages beside a prompt is the
whole conversation where it begins with the prompt, else what follows the prompt. LLMBar's label
1 or 2 names the output that is chosen. A row scored without the start of a conversation says so
with `reward_truncated`. Rewards and errors of an earlier run are replaced; a column `error` of the
user's own stays, and the row's error is then called `reward_error`.

Knows nothing of models: the scoring function is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.data.call_results import call_groups
from cluster.data.jsonl import BrokenRow, Row
from cluster.data.row_errors import make_report, named, with_report, without_report
from cluster.data.validation import user_message
from cluster.errors import InvalidInput, RewardError
from cluster.types import Conversation, Message, Score

Scorer = Callable[[Sequence[Conversation]], Sequence[Score | RewardError]]

_HH_START = "\n\nHuman:"
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}
_FORMATS = (
    "`messages`, `prompt` + `response`, `prompt` + `responses`, "
    "`chosen` + `rejected`, or `input` + `output_1` + `output_2` + `label`"
)
_CUT = "reward_truncated"
_UNSCORED = "reward_errors"
_OURS = (_CUT, _UNSCORED)
_PAIR = ("chosen_reward", "rejected_reward")


@dataclass(frozen=True, slots=True)
class RowQuery:
    """The conversations that one row asks to score.

    fields: the row's own name of each conversation, for errors.
    keys: where the rewards go: one key each, or all in a list under a single `rewards`.
    """

    fields: tuple[str, ...]
    conversations: tuple[Conversation, ...]
    keys: tuple[str, ...]

    def answers(self, rewards: Sequence[float | None]) -> dict[str, Any]:
        """`rewards`, one per conversation, as fields of the row."""
        if self.keys == ("rewards",):
            return {"rewards": list(rewards)}
        return dict(zip(self.keys, rewards, strict=True))


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A row on its way out.

    error: why it has no rewards, None if it has.  unscored: the errors of those of its responses
    that have none, each message naming the response.  rewards: of those that have one, in order.
    """

    number: int
    value: dict[str, Any]
    error: RewardError | None = None
    unscored: tuple[RewardError, ...] = ()
    rewards: tuple[float, ...] = ()

    @property
    def errors(self) -> tuple[RewardError, ...]:
        """Everything that went wrong in the row."""
        return self.unscored if self.error is None else (self.error,)


def score_rows(
    rows: Iterable[Row | BrokenRow], score: Scorer, window: int = 1024
) -> Iterator[ScoredRow]:
    """Every row with its rewards or its error, in order.

    `score` is called with `window` conversations or a few more at a time, so that memory is
    bounded by the window and not by the file.
    """
    waiting: list[tuple[Row | BrokenRow, RowQuery | RewardError]] = []
    n_conversations = 0
    for row in rows:
        ask = _try_ask(row)
        waiting.append((row, ask))
        n_conversations += len(ask.conversations) if isinstance(ask, RowQuery) else 0
        if n_conversations >= window or len(waiting) >= window:
            yield from _score_window(waiting, score)
            waiting, n_conversations = [], 0
    yield from _score_window(waiting, score)


def ask_of(row: Mapping[str, Any]) -> RowQuery:
    """The conversations a row asks to score. Raises InvalidInput naming the field."""
    if "chosen" in row and "rejected" in row:
        prompt = row.get("prompt")
        pair = [_reply(prompt, row[name], name) for name in ("chosen", "rejected")]
        return RowQuery(("chosen", "rejected"), tuple(pair), _PAIR)
    if "output_1" in row and "output_2" in row:
        return _llmbar(row)
    if "prompt" in row and "responses" in row:
        return _group(row["prompt"], row["responses"])
    if "prompt" in row and "response" in row:
        reply = _reply(row["prompt"], row["response"], "response")
        return RowQuery(("response",), (reply,), ("reward",))
    if "messages" in row:
        return RowQuery(("messages",), (_whole(row["messages"], "messages"),), ("reward",))
    found = ", ".join(row) or "no field at all"
    raise InvalidInput(f"no format fits; give {_FORMATS} (found: {found})")


def hh_messages(text: str) -> list[Message]:
    """The turns of an HH-RLHF dialogue, roles in the order they stand, empty turns included."""
    before, *turns = _HH_TURN.split(text)
    if before:
        raise InvalidInput("text stands before the first Human or Assistant turn")
    return [
        Message(role=_HH_ROLES[name], content=content.strip())
        for name, content in zip(turns[::2], turns[1::2], strict=True)
    ]


def _llmbar(row: Mapping[str, Any]) -> RowQuery:
    label = row.get("label")
    if label not in (1, 2):
        raise InvalidInput("`label` must be 1 or 2, the number of the better output")
    if "input" not in row:
        raise InvalidInput("`input`, the prompt of the two outputs, is missing")
    fields = ("output_1", "output_2") if label == 1 else ("output_2", "output_1")
    return RowQuery(fields, tuple(_reply(row["input"], row[name], name) for name in fields), _PAIR)


def _group(prompt: Any, responses: Any) -> RowQuery:
    if not isinstance(responses, list) or not responses:
        raise InvalidInput("`responses` must be a list of at least one response")
    fields = tuple(f"responses[{i}]" for i in range(len(responses)))
    replies = [_reply(prompt, *pair) for pair in zip(responses, fields, strict=True)]
    return RowQuery(fields, tuple(replies), ("rewards",))


def _reply(prompt: Any, reply: Any, field: str) -> Conversation:
    """A reply in its context: a conversation that ends with it."""
    if prompt is None:
        return _whole(reply, field)
    chat = prompt_messages(prompt)
    if isinstance(reply, str):
        return chat, reply
    messages = _messages(reply, field)
    return messages if messages[: len(chat)] == chat else chat + messages


def prompt_messages(prompt: Any) -> list[Message]:
    """A row's `prompt`, string or messages, as messages. Raises InvalidInput by its shape."""
    if not isinstance(prompt, str):
        return _messages(prompt, "prompt")
    if not prompt.startswith(_HH_START):
        return [user_message(prompt)]
    messages = hh_messages(prompt)
    return messages[:-1] if messages[-1] == Message(role="assistant", content="") else messages


def _whole(value: Any, field: str) -> Conversation:
    if not isinstance(value, str):
        return _messages(value, field)
    return hh_messages(value) if value.startswith(_HH_START) else value


def _messages(value: Any, field: str) -> list[Message]:
    """Only the shape is checked here; roles and contents are the encoder's to judge."""
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return value
    kind = "a list of other things" if isinstance(value, list) else type(value).__name__
    raise InvalidInput(f"`{field}` must be a string or a list of messages, not {kind}")


def _try_ask(row: Row | BrokenRow) -> RowQuery | RewardError:
    if isinstance(row, BrokenRow):
        return InvalidInput(row.reason)
    try:
        return ask_of(row.value)
    except RewardError as error:
        return error


def _score_window(
    waiting: Sequence[tuple[Row | BrokenRow, RowQuery | RewardError]], score: Scorer
) -> Iterator[ScoredRow]:
    asked = [ask.conversations if isinstance(ask, RowQuery) else () for _, ask in waiting]
    for (row, ask), results in zip(waiting, call_groups(asked, score), strict=True):
        if isinstance(row, BrokenRow) or isinstance(ask, RewardError):
            assert isinstance(ask, RewardError)
            yield _failed(row, ask, None, ())
        else:
            yield _finished(row, ask, results)


def _finished(row: Row, ask: RowQuery, results: Sequence[Score | RewardError]) -> ScoredRow:
    answered = list(zip(ask.fields, results, strict=True))
    failed = [(field, result) for field, result in answered if isinstance(result, RewardError)]
    if failed and (ask.keys != ("rewards",) or len(failed) == len(results)):
        field, error = failed[0]
        return _failed(row, error, field, ask.keys)
    kept = {key: value for key, value in without_report(row.value).items() if key not in _OURS}
    answers = ask.answers([r.reward if isinstance(r, Score) else None for r in results])
    if any(isinstance(r, Score) and r.truncated for r in results):
        answers[_CUT] = True
    if failed:
        answers[_UNSCORED] = [make_report(row.number, error, field) for field, error in failed]
    unscored = tuple(named(f, e) for f, e in failed)
    rewards = tuple(r.reward for r in results if isinstance(r, Score))
    return ScoredRow(row.number, kept | answers, None, unscored, rewards)


def _failed(
    row: Row | BrokenRow, error: RewardError, field: str | None, stale: Sequence[str]
) -> ScoredRow:
    """The row with its error; rewards of an earlier run must not stand beside it."""
    value = {"text": row.text} if isinstance(row, BrokenRow) else row.value
    kept = {key: kept for key, kept in value.items() if key not in (*stale, *_OURS)}
    report = make_report(row.number, error, field)
    return ScoredRow(row.number, with_report(kept, report), named(field, error))
