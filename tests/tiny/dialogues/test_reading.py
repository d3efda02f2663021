"""Dialogues of HH-RLHF rows: which rows train, which judge, which replies count."""

import json
from pathlib import Path

import pytest
from support.dialogues import HH_RLHF, write_dialogues

from cluster.errors import InvalidInput
from cluster.tiny.dialogues.reading import TRAINING_ROWS, Dialogue, read_dialogues
from cluster.types import Message

LONG = "one two three four five six seven eight nine"


def written(path: Path, *rows: tuple[str, str]) -> str:
    """Enough ordinary rows, the first of them replaced."""
    source = Path(write_dialogues(path))
    lines = source.read_text().splitlines()
    own = [json.dumps({"chosen": chosen, "rejected": rejected}) for chosen, rejected in rows]
    source.write_text("\n".join(own + lines[len(own) :]) + "\n")
    return str(source)


def test_rows_from_a_thousand_on_are_never_trained_on(tmp_path: Path) -> None:
    found = read_dialogues(write_dialogues(tmp_path / "rows.jsonl", n_judging=30))

    def numbers(dialogues: tuple[Dialogue, ...]) -> set[int]:
        return {int(d.prompt[0]["content"].split()[1].rstrip(":")) for d in dialogues}

    assert max(numbers(found.training)) < TRAINING_ROWS
    assert numbers(found.judging) == set(range(TRAINING_ROWS, TRAINING_ROWS + 30))


def test_every_reply_of_both_sides_is_trained_on_once(tmp_path: Path) -> None:
    first = f"\n\nHuman: a\n\nAssistant: {LONG}"
    source = written(
        tmp_path / "rows.jsonl",
        (f"{first}\n\nHuman: b\n\nAssistant: good {LONG}", f"{first}\n\nHuman: b\n\nAssistant: no"),
    )
    replies = [d.reply for d in read_dialogues(source).training[:2]]
    assert replies == [LONG, f"good {LONG}"]


@pytest.mark.parametrize(
    "text",
    [
        f"\n\nHuman: a\n\nHuman: b\n\nAssistant: {LONG}",
        f"\n\nHuman: \n\nAssistant: {LONG}",
        "\n\nHuman: a\n\nAssistant: too short",
        "no dialogue at all",
    ],
    ids=["two turns of one role", "an empty turn", "a short reply", "plain text"],
)
def test_rows_that_are_no_dialogues_are_left_out(tmp_path: Path, text: str) -> None:
    usual = read_dialogues(write_dialogues(tmp_path / "usual.jsonl"))
    found = read_dialogues(written(tmp_path / "rows.jsonl", (text, text)))
    assert found.training == usual.training[2:]
    assert found.judging == usual.judging


def test_a_file_without_rows_to_judge_by_is_refused(tmp_path: Path) -> None:
    source = write_dialogues(tmp_path / "rows.jsonl", n_judging=0)
    with pytest.raises(InvalidInput, match="1000"):
        read_dialogues(source)


def test_early_turns_go_first_where_a_prompt_is_long() -> None:
    def turn(role: str, n: int) -> Message:
        return Message(role=role, content="word " * n)

    dialogue = Dialogue((turn("user", 50), turn("assistant", 50), turn("user", 30)), LONG)
    assert len(dialogue.recent(200).prompt) == 3
    assert dialogue.recent(100).prompt == (turn("user", 30),)
    assert dialogue.recent(1).prompt == (turn("user", 30),)


def test_the_real_file_has_dialogues_for_both(shared_data: Path) -> None:
    found = read_dialogues(shared_data / HH_RLHF)
    assert len(found.training) > 2000
    assert len(found.judging) > 1000
