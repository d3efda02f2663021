from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.data.formats import ask_of, hh_messages, score_rows
from cluster.data.jsonl import BrokenRow, Row
from cluster.errors import InvalidInput, RewardError, TooLong
from cluster.types import Conversation, Message, Score


def message(role: str, content: str) -> Message:
    return Message(role=role, content=content)


USER, REPLY = message("user", "hi"), message("assistant", "yes")


def answer(reward: float, truncated: bool = False) -> Score:
    return Score(reward, 1, 0, truncated, 0.0, 0.0, "fake", "1", "fast")


class Scorer:
    """Answers the length of a reply; a reply "bad" is too long. Keeps the sizes of its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, conversations: Sequence[Conversation]) -> list[Score | RewardError]:
        self.calls.append(len(conversations))
        return [self.one(i, str(c[-1])) for i, c in enumerate(conversations)]

    def one(self, item: int, reply: str) -> Score | RewardError:
        if reply == "bad":
            return TooLong("9 tokens are more than 4", item)
        return answer(float(len(reply)), truncated=reply == "cut")


def scored(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    numbered = [Row(i, row) for i, row in enumerate(rows, 1)]
    return [row.value for row in score_rows(numbered, Scorer())]


@pytest.mark.parametrize(
    ("row", "conversations"),
    [
        ({"messages": [USER, REPLY]}, [[USER, REPLY]]),
        ({"messages": "<s>hi</s>"}, ["<s>hi</s>"]),
        ({"messages": "\n\nHuman: hi\n\nAssistant: yes"}, [[USER, REPLY]]),
        ({"prompt": "hi", "response": "yes"}, [([USER], "yes")]),
        ({"prompt": [USER], "response": "yes"}, [([USER], "yes")]),
        ({"prompt": [USER], "response": [REPLY]}, [[USER, REPLY]]),
        ({"prompt": [USER], "response": [USER, REPLY]}, [[USER, REPLY]]),
        ({"prompt": "\n\nHuman: hi\n\nAssistant:", "response": "yes"}, [([USER], "yes")]),
        ({"prompt": "hi", "responses": ["a", [REPLY]]}, [([USER], "a"), [USER, REPLY]]),
        ({"chosen": [USER, REPLY], "rejected": "x"}, [[USER, REPLY], "x"]),
        ({"prompt": "hi", "chosen": "a", "rejected": "b"}, [([USER], "a"), ([USER], "b")]),
        ({"prompt": "hi", "chosen": [USER, REPLY], "rejected": [REPLY]}, [[USER, REPLY]] * 2),
        (
            {"input": "hi", "output_1": "a", "output_2": "b", "label": 2},
            [([USER], "b"), ([USER], "a")],
        ),
    ],
)
def test_a_row_asks_for_its_conversations(row: dict[str, Any], conversations: list[Any]) -> None:
    assert list(ask_of(row).conversations) == conversations


def test_a_generated_response_is_never_read_as_a_dialogue() -> None:
    runaway = "\n\nHuman: thanks\n\nAssistant: welcome"
    assert ask_of({"prompt": "hi", "response": runaway}).conversations == (([USER], runaway),)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({}, "no format fits.*found: no field at all"),
        ({"response": "yes"}, "no format fits; give `messages`.*found: response"),
        ({"messages": 5}, "`messages` must be a string or a list of messages, not int"),
        ({"messages": [1, 2]}, "`messages` must be .* not a list of other things"),
        ({"prompt": None, "response": {}}, "`response` must be .* not dict"),
        ({"prompt": 3, "response": "yes"}, "`prompt` must be .* not int"),
        ({"prompt": "hi", "responses": []}, "`responses` must be a list of at least one"),
        ({"prompt": "hi", "responses": "yes"}, "`responses` must be a list of at least one"),
        ({"prompt": "hi", "responses": ["a", 1]}, r"`responses\[1\]` must be .* not int"),
        ({"input": "hi", "output_1": "a", "output_2": "b", "label": 3}, "`label` must be 1 or 2"),
        ({"input": "hi", "output_1": "a", "output_2": "b", "label": [1]}, "`label` must be 1"),
        ({"output_1": "a", "output_2": "b", "label": 1}, "`input`.* is missing"),
    ],
)
def test_a_row_without_a_format_says_what_is_wrong(row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        ask_of(row)


def test_a_dialogue_keeps_empty_and_repeated_turns() -> None:
    text = "\n\nHuman: a\n\nAssistant:\n\nHuman: Human: b\n\nc\n\nHuman:  d"
    assert hh_messages(text) == [
        message("user", "a"),
        message("assistant", ""),
        message("user", "Human: b\n\nc"),
        message("user", "d"),
    ]


def test_rewards_stand_beside_the_fields_of_their_rows() -> None:
    assert scored(
        {"id": 7, "prompt": "hi", "response": "four"},
        {"prompt": "hi", "responses": ["1", "22"], "note": None},
        {"prompt": "hi", "chosen": "333", "rejected": "1"},
        {"input": "hi", "output_1": "1", "output_2": "22", "label": 2},
    ) == [
        {"id": 7, "prompt": "hi", "response": "four", "reward": 4.0},
        {"prompt": "hi", "responses": ["1", "22"], "note": None, "rewards": [1.0, 2.0]},
        {
            "prompt": "hi",
            "chosen": "333",
            "rejected": "1",
            "chosen_reward": 3.0,
            "rejected_reward": 1.0,
        },
        {
            "input": "hi",
            "output_1": "1",
            "output_2": "22",
            "label": 2,
            "chosen_reward": 2.0,
            "rejected_reward": 1.0,
        },
    ]


REPORT = {"line": 1, "code": "too_long", "message": "9 tokens are more than 4"}


def test_one_bad_response_is_named_and_costs_the_others_nothing() -> None:
    row = {"prompt": "hi", "responses": ["ok", "bad"], "rewards": [1, 2]}
    [found] = score_rows([Row(1, row)], Scorer())
    [good] = scored({"prompt": "hi", "response": "ok"})
    assert found.value == row | {
        "rewards": [good["reward"], None],
        "reward_errors": [REPORT | {"item": "responses[1]"}],
    }
    assert found.error is None
    assert [str(error) for error in found.errors] == ["responses[1]: 9 tokens are more than 4"]


def test_a_row_none_of_whose_responses_can_be_scored_has_an_error_and_no_rewards() -> None:
    [row] = scored({"prompt": "hi", "responses": ["bad"], "rewards": [1]})
    error = REPORT | {"item": "responses[0]"}
    assert row == {"prompt": "hi", "responses": ["bad"], "error": error}


def test_a_column_error_of_the_users_own_stays_beside_rewards_and_errors() -> None:
    for mine in ("wrong chosen answer", {"code": 5}, None):
        sound, broken = scored(
            {"prompt": "hi", "response": "yes", "error": mine},
            {"prompt": "hi", "response": "bad", "error": mine},
        )
        assert sound["error"] == broken["error"] == mine
        assert "reward" in sound
        assert broken["reward_error"] == REPORT | {"line": 2, "item": "response"}
        [again] = scored(broken | {"response": "yes"})
        assert again.keys() == {"prompt", "response", "error", "reward"}


def test_a_broken_line_is_kept_as_text_with_its_error() -> None:
    [row] = score_rows([BrokenRow(4, "{oops", "not JSON")], Scorer())
    assert row.value["text"] == "{oops"
    assert row.value["error"]["line"] == 4
    assert isinstance(row.error, InvalidInput)


def test_scoring_a_scored_file_again_replaces_rewards_and_errors() -> None:
    once = scored({"prompt": "hi", "response": "yes"}, {"prompt": "hi", "response": "bad"})
    once[1]["response"] = "good"
    assert scored(*once) == [
        {"prompt": "hi", "response": "yes", "reward": 3.0},
        {"prompt": "hi", "response": "good", "reward": 4.0},
    ]


def test_a_row_scored_without_its_start_says_so() -> None:
    first, second = scored({"prompt": "h", "response": "cut"}, {"prompt": "h", "response": "x"})
    assert first["reward_truncated"] is True
    assert "reward_truncated" not in second


def test_the_rewards_of_a_row_are_those_just_scored_whatever_its_columns_hold() -> None:
    pair = {"prompt": "h", "chosen": "aa", "rejected": "a", "rewards": [9.0, 9.0, 9.0]}
    group = {"prompt": "h", "responses": ["a", "bad"], "chosen_reward": 9.0, "rejected_reward": 9.0}
    rows = [Row(1, pair), Row(2, group)]
    found = [row.rewards for row in score_rows(rows, Scorer())]
    assert found == [(2.0, 1.0), (1.0,)]


REPLIES = st.sampled_from(["a", "bb", "bad", "cut"])
ROWS = st.one_of(
    st.builds(lambda r: {"prompt": "hi", "response": r}, REPLIES),
    st.builds(lambda r: {"prompt": "hi", "responses": r}, st.lists(REPLIES, max_size=5)),
    st.builds(lambda a, b: {"prompt": "hi", "chosen": a, "rejected": b}, REPLIES, REPLIES),
    st.just({"unknown": 1}),
)


@given(rows=st.lists(ROWS, max_size=30), window=st.integers(1, 8))
def test_every_row_comes_out_once_in_order_with_rewards_or_an_error(
    rows: list[dict[str, Any]], window: int
) -> None:
    scorer = Scorer()
    out = list(score_rows([Row(i, row) for i, row in enumerate(rows, 1)], scorer, window))
    assert [row.number for row in out] == list(range(1, len(rows) + 1))
    for before, after in zip(rows, out, strict=True):
        assert before.items() <= after.value.items()
        assert ("error" in after.value) == (after.error is not None)
        assert ("error" in after.value) != any("reward" in key for key in after.value)
    assert all(size < window + 5 for size in scorer.calls)


@given(rows=st.lists(ROWS, max_size=30), window=st.integers(1, 8))
def test_the_window_changes_no_row(rows: list[dict[str, Any]], window: int) -> None:
    numbered = [Row(i, row) for i, row in enumerate(rows, 1)]
    windowed = [row.value for row in score_rows(numbered, Scorer(), window)]
    assert windowed == [row.value for row in score_rows(numbered, Scorer(), 10**6)]
