"""The generated preferences: held-out values stay unseen, grades are right, seeds decide."""

import re
from random import Random

import pytest

from cluster.rlhf.synthetic.preferences import KINDS, GradedGroup, groups, of_each
from cluster.rlhf.synthetic.preferences.arithmetic import operands
from cluster.rlhf.synthetic.preferences.groups import Split
from cluster.rlhf.synthetic.preferences.words import names, topics, words


def made(kind: str, split: Split = "train", n: int = 60) -> list[GradedGroup]:
    return [KINDS[kind](Random(f"{kind} {i}"), split) for i in range(n)]


def best(group: GradedGroup) -> str:
    return group.responses[group.grades.index(max(group.grades))]


def test_the_same_seed_gives_the_same_groups_and_another_seed_others() -> None:
    assert list(groups("train", of_each(3), 0)) == list(groups("train", of_each(3), 0))
    assert list(groups("train", of_each(3), 0)) != list(groups("train", of_each(3), 1))


@pytest.mark.parametrize("sign", ["+", "-", "*"])
def test_no_held_out_operands_are_trained_on(sign: str) -> None:
    seen: dict[Split, set[tuple[int, int]]] = {"train": set(), "held_out": set()}
    for split, found in seen.items():
        found.update(operands(Random(i), split, sign) for i in range(1000))
    assert seen["held_out"]
    assert seen["train"].isdisjoint(seen["held_out"])


@pytest.mark.parametrize("values", [names, topics, words])
def test_no_held_out_word_is_trained_on(values: object) -> None:
    assert callable(values)
    seen = {
        split: {value for i in range(400) for value in values(Random(i), split, 3)}
        for split in ("train", "held_out")
    }
    assert len(seen["held_out"]) > 10
    assert seen["train"].isdisjoint(seen["held_out"])


def test_no_held_out_chat_is_trained_on() -> None:
    def chats(split: Split) -> set[tuple[str, str]]:
        return {(str(g.prompt), r) for g in groups(split, of_each(100), 0) for r in g.responses}

    assert chats("train").isdisjoint(chats("held_out"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_group_has_a_best_and_a_worse_response(kind: str) -> None:
    for group in made(kind, n=30):
        assert group.kind == kind
        assert len(set(group.responses)) == len(group.responses)
        assert len(group.responses) == len(group.grades)
        pairs = list(group.pairs())
        assert pairs
        assert all(group.grades[a] > group.grades[b] for a, b in pairs)


@pytest.mark.parametrize("kind", ["addition", "subtraction", "multiplication"])
def test_only_the_right_result_has_the_best_grade(kind: str) -> None:
    operation = {"addition": int.__add__, "subtraction": int.__sub__, "multiplication": int.__mul__}
    for group in made(kind):
        question = group.prompt[-1]["content"]
        a, b = map(int, re.findall(r"\d+", question))
        if question.startswith("Take"):
            a, b = b, a
        result = str(operation[kind](a, b))
        right = [re.findall(r"\d+", response)[-1] == result for response in group.responses]
        assert right == [grade == 0 for grade in group.grades]


def test_the_best_list_has_as_many_things_as_asked() -> None:
    numbers = {"two": 2, "three": 3, "four": 4}
    for group in made("list_length"):
        asked = next(w for w in group.prompt[0]["content"].split() if w in numbers or w.isdigit())
        wanted = numbers.get(asked) or int(asked)
        assert len(re.findall(r", |\n", best(group))) + 1 == wanted


def test_the_best_text_has_as_many_sentences_as_asked() -> None:
    numbers = {"one": 1, "two": 2, "three": 3}
    for group in made("sentence_count"):
        text = " ".join(message["content"] for message in group.prompt)
        asked = re.search(r"(\w+) sentences?\.", text)
        assert asked is not None
        wanted = numbers.get(asked[1]) or int(asked[1])
        assert best(group).count(".") == wanted


@pytest.mark.parametrize("kind", ["mention", "address", "repeat"])
def test_only_the_best_response_has_the_wanted_word(kind: str) -> None:
    for group in made(kind):
        text = " ".join(message["content"] for message in group.prompt)
        wanted = [w for w in re.findall(r"\w+", text) if w in re.findall(r"\w+", best(group))]
        others = [r for r, grade in zip(group.responses, group.grades, strict=True) if grade < 0]
        assert all(any(w not in re.findall(r"\w+", other) for w in wanted) for other in others)


def test_the_best_name_is_the_one_that_was_given() -> None:
    for group in made("memory"):
        mine = group.prompt[0]["content"].removeprefix("You are ").split(",")[0]
        theirs = group.prompt[1]["content"].rstrip(".").split()[-1]
        about_me = group.prompt[-1]["content"] == "What is your name?"
        assert (mine if about_me else theirs) in best(group)


def test_system_prompts_and_several_turns_occur() -> None:
    prompts = [group.prompt for group in groups("train", of_each(30), 0)]
    assert any(prompt[0]["role"] == "system" for prompt in prompts)
    assert any(len(prompt) >= 3 for prompt in prompts)
