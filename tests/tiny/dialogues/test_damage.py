"""Damage to replies: each kind does what it is called, and unseen words stay unseen."""

from collections import Counter
from random import Random

import pytest

from cluster.rlhf.synthetic.preferences.groups import Split
from cluster.tiny.dialogues.damage import DAMAGE, damaged_groups
from cluster.tiny.dialogues.reading import Dialogue
from cluster.tiny.dialogues.sentences import foreign_text, insult
from cluster.tiny.dialogues.spans import labelled_reply
from cluster.tiny.dialogues.swapping import COMMON_WORDS, WordSwapper
from cluster.types import Message

REPLY = "Put the egg in boiling water. Wait for eight minutes, then cool it down."
OTHER = "The train to Hamburg leaves from platform seven at half past nine today."
TALK = Dialogue((Message(role="user", content="How do I boil an egg?"),), REPLY)
STRANGE = Dialogue((Message(role="user", content="When does my train leave?"),), OTHER)


def damaged(kind: str, n: int = 40, split: Split = "train") -> list[str]:
    return [DAMAGE[kind](Random(i), split, REPLY, OTHER) for i in range(n)]


@pytest.mark.parametrize("kind", DAMAGE)
def test_no_damage_leaves_the_reply_as_it_was(kind: str) -> None:
    assert REPLY not in damaged(kind)


def test_shuffled_replies_keep_their_words() -> None:
    assert {frozenset(Counter(text.split()).items()) for text in damaged("shuffled")} == {
        frozenset(Counter(REPLY.split()).items())
    }


def test_cut_replies_begin_the_same_and_end_in_mid_sentence() -> None:
    for text in damaged("cut"):
        assert REPLY.startswith(text)
        assert text[-1].isalpha()


def test_repeated_replies_have_nothing_new() -> None:
    for text in damaged("repeated"):
        assert set(text.split()) <= set(REPLY.split())
        assert max(Counter(text.split()).values()) > 1


@pytest.mark.parametrize("make", [insult, foreign_text])
def test_no_held_out_sentence_is_trained_on(make: object) -> None:
    assert callable(make)
    trained = " ".join(make(Random(i), "train") for i in range(3000))
    unseen = {make(Random(i), "held_out") for i in range(300)}
    ends = (part for text in unseen for part in text.replace("?", ".").replace("!", ".").split("."))
    assert not [part for part in ends if len(part.split()) > 3 and f"{part}." in trained]


def test_every_kind_comes_with_the_reply_it_damages() -> None:
    found = damaged_groups(Random(0), "held_out", TALK, [STRANGE], list(DAMAGE))
    assert [group.kind for group in found] == list(DAMAGE)
    for group in found:
        [(better, _)] = group.pairs()
        assert group.responses[better] == REPLY


def test_a_dialogue_is_no_stranger_to_itself() -> None:
    assert damaged_groups(Random(0), "train", TALK, [TALK], ["another_dialogue"]) == []


def test_labelled_replies_say_which_parts_are_their_own() -> None:
    seen = Counter[bool]()
    for i in range(300):
        reply = labelled_reply(Random(i), TALK, STRANGE)
        text = " ".join(part for part, _ in reply.parts)
        seen[reply.intact] += 1
        if reply.intact:
            assert REPLY.startswith(text)
            assert not text or not text[-1].isalpha()
        own = [part for part, intact in reply.parts if intact]
        assert all(part in REPLY for part in own)
    assert min(seen.values()) > 50


def test_swapped_words_are_the_same_in_all_turns_and_common_ones_stay() -> None:
    common = [f"the{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(COMMON_WORDS)]
    often = Dialogue((Message(role="user", content=" ".join(common * 9)),), "Egg train water egg")
    swapper = WordSwapper([often, TALK, STRANGE])
    new = swapper.swapped(Random(1), Dialogue(often.prompt, "Egg water egg"))
    first, second, third = new.reply.split()
    assert new.prompt == often.prompt
    assert first.lower() == third != second
    assert first[0].isupper()
