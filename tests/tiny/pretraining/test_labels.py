"""Labels of tokens: what is intact, what was seen before, and the share of it."""

from typing import Any

import pytest
from transformers import AutoTokenizer

from cluster.engine.checkpoint import locate
from cluster.tiny.dialogues.reading import Dialogue
from cluster.tiny.dialogues.spans import LabelledReply
from cluster.tiny.pretraining.labels import UNASKED, LabelledBatch, LabelledTokens, Labeller
from cluster.types import Message

TOKENIZER: Any = AutoTokenizer.from_pretrained(locate("tiny"))
PROMPT = (Message(role="user", content="Boil the egg"),)
TALK = Dialogue(PROMPT, "the egg and the water")
LABELLER = Labeller(TOKENIZER, [TALK])


def labelled(*parts: tuple[str, bool], intact: bool = False) -> LabelledTokens:
    return LABELLER.label(PROMPT, LabelledReply(parts, intact))


def asked(row: LabelledTokens) -> list[int]:
    return [place for place, label in enumerate(row.intact) if label != UNASKED]


def test_the_ids_are_those_of_the_template() -> None:
    chat = [*PROMPT, Message(role="assistant", content="The egg. Wait")]
    row = labelled(("The egg.", True), ("Wait", False))
    whole = TOKENIZER.apply_chat_template(chat, tokenize=False)
    assert row.ids == TOKENIZER(whole, add_special_tokens=False)["input_ids"]


def test_only_the_reply_and_its_end_are_asked_for() -> None:
    row = labelled(("The egg.", True), ("Wait", False))
    places = asked(row)
    assert places == list(range(places[0], len(row.ids)))
    assert "".join(TOKENIZER.decode([row.ids[p]]) for p in places) == "The egg. Wait<|eot_id|>"
    text = {True: "", False: ""}
    for place in places[:-1]:
        text[bool(row.intact[place])] += TOKENIZER.decode([row.ids[place]])
    assert text == {True: "The egg.", False: " Wait"}


@pytest.mark.parametrize("intact", [True, False])
def test_the_end_of_the_turn_stands_for_the_whole_reply(intact: bool) -> None:
    assert labelled(("The egg.", True), intact=intact).intact[-1] == int(intact)
    assert labelled(intact=intact).intact[-1] == int(intact)


def test_tokens_are_found_in_the_prompt_and_in_the_reply_whatever_their_case() -> None:
    row = labelled(("The zoo, the", True))
    found = {}
    for place in asked(row)[:-1]:
        found[TOKENIZER.decode([row.ids[place]])] = row.seen[place]
    assert found["The"] == (1, 0)
    assert found[" the"] == (1, 1)
    assert found[","] == (0, 0)


def test_the_share_grows_with_what_stands_in_the_prompt() -> None:
    mine, strange = labelled(("boil", True)), labelled(("zoo", True))
    assert mine.shared[-1] > strange.shared[-1] == 0.0


def test_rows_are_padded_on_the_right_and_padding_is_not_asked_for() -> None:
    short, long = labelled(("egg", True)), labelled(("egg and water and egg", True))
    batch = LabelledBatch.of([short, long], pad=5)
    n = len(short.ids)
    assert batch.ids_BT[0, :n].tolist() == short.ids
    assert set(batch.ids_BT[0, n:].tolist()) == {5}
    for labels in (batch.intact_BT, batch.seen_BT2, batch.shared_BT):
        assert (labels[0, n:] == UNASKED).all()
