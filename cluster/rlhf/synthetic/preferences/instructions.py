"""Synthetic instructions: form, count and given words, asked for by user or system prompt."""

from __future__ import annotations

from random import Random

from cluster.rlhf.synthetic.preferences.groups import GradedGroup, Split, graded, system, user
from cluster.rlhf.synthetic.preferences.words import (
    list_items,
    names,
    prose_about,
    sentence_about,
    sentences_about,
    topics,
    words,
)
from cluster.types import Message

_ASKS = ("Tell me about {t}.", "Write about {t}.", "What do you know about {t}?",
         "Say something about {t}.", "I want to hear about {t}.")  # fmt: skip
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
_UPPER = ("Answer in upper case.", "Use capital letters only.", "Write in capitals.")
_LOWER = ("Answer in lower case.", "Use small letters only.", "Do not use capital letters.")


def letter_case(rng: Random, split: Split) -> GradedGroup:
    """Upper or lower case: all of it, then half of it, then ordinary text, then the opposite."""
    topic = topics(rng, split, 1)[0]
    upper = rng.random() < 0.5
    rule = rng.choice(_UPPER if upper else _LOWER)
    first, second = (prose_about(rng, topic, 1) for _ in range(2))
    change, oppose = (str.upper, str.lower) if upper else (str.lower, str.upper)
    text = f"{first} {second}"
    half = f"{change(first)} {second if upper else second.upper()}"
    return graded(rng, "letter_case", _asked(rng, topic, rule), change(text), half, oppose(text))


def list_length(rng: Random, split: Split) -> GradedGroup:
    """A list of N things, against lists one or two things too short or too long."""
    kind, things = list_items(rng, split, 6)
    number = rng.randint(2, 4)
    prompt = rng.choice(("List {n} {k}.", "Name {n} {k}.", "Give me a list of {n} {k}."))
    count = rng.choice((str(number), _NUMBERS[number]))
    layout = rng.choice((_numbered, _bullets, ", ".join))
    near = rng.choice([n for n in (number - 1, number + 1) if n > 0])
    far = rng.choice([n for n in (1, 6) if abs(n - number) > 1])
    asked = [user(prompt.format(n=count, k=kind))]
    return graded(rng, "list_length", asked, *(layout(things[:n]) for n in (number, near, far)))


def one_word(rng: Random, split: Split) -> GradedGroup:
    """One word, then a few, then a sentence."""
    topic = topics(rng, split, 1)[0]
    rule = rng.choice(("Reply with one word.", "Use only one word.", "Answer in a single word."))
    some = words(rng, split, 4)
    one = rng.choice((some[0], some[0].title(), f"{some[0].title()}."))
    few = " ".join(some[1 : rng.choice((3, 4))])
    return graded(rng, "one_word", _asked(rng, topic, rule), one, few, prose_about(rng, topic, 1))


def sentence_count(rng: Random, split: Split) -> GradedGroup:
    """N sentences, against one too few or too many."""
    topic = topics(rng, split, 1)[0]
    number = rng.randint(1, 3)
    word = {1: "one"}.get(number) or rng.choice((str(number), _NUMBERS[number]))
    plural = "sentence" if number == 1 else "sentences"
    rule = rng.choice(("Use {n} {s}.", "Answer in {n} {s}.", "Write exactly {n} {s}."))
    near = rng.choice([n for n in (number - 1, number + 1) if n > 0])
    far = 5 if near > number or number < 3 else 1
    parts = sentences_about(rng, topic, 5)
    texts = (" ".join(parts[:n]) for n in (number, near, far))
    asked = _asked(rng, topic, rule.format(n=word, s=plural))
    return graded(rng, "sentence_count", asked, *texts)


def mention(rng: Random, split: Split) -> GradedGroup:
    """A text that mentions the given word, against ones that mention another or none."""
    topic = topics(rng, split, 1)[0]
    wanted, other = words(rng, split, 2)
    rule = rng.choice(("Mention the word {w}.", "Use the word {w}.", "Include the word {w}."))
    asked = _asked(rng, topic, rule.format(w=wanted))
    closing = rng.choice(("The word is {w}.", "It makes me think of {w}.", "Do not forget {w}."))
    text = prose_about(rng, topic, rng.randint(1, 2))
    right, wrong = (f"{text} {closing.format(w=word)}" for word in (wanted, other))
    return graded(rng, "mention", asked, right, [wrong, text])


def repeat(rng: Random, split: Split) -> GradedGroup:
    """The given word said again, against another word."""
    wanted, *others = words(rng, split, 3)
    ask = rng.choice(("Repeat the word {w}.", "Say {w}.", "Please write {w}.", "Spell {w} again."))
    layout = rng.choice(("The word is {w}.", "You said {w}.", "It is {w}.", "I say {w}!"))
    right, *wrong = (layout.format(w=word) for word in (wanted, *others))
    return graded(rng, "repeat", [user(ask.format(w=wanted))], right, wrong)


def address(rng: Random, split: Split) -> GradedGroup:
    """A text that addresses the given person, against another one or none."""
    topic = topics(rng, split, 1)[0]
    wanted, other = names(rng, split, 2)
    rule = rng.choice(("Begin with Dear {n}.", "Write to {n}.", "Address it to {n}."))
    text = f"{sentence_about(rng, topic)}."
    asked = _asked(rng, topic, rule.format(n=wanted))
    return graded(rng, "address", asked, f"Dear {wanted}, {text}", [f"Dear {other}, {text}", text])


def _asked(rng: Random, topic: str, rule: str) -> list[Message]:
    """The question and the rule in one message, or the rule as the system prompt."""
    ask = rng.choice(_ASKS).format(t=topic)
    if rng.random() < 0.25:
        return [system(rule), user(ask)]
    return [user(f"{ask} {rule}" if rng.random() < 0.6 else f"{rule} {ask}")]


def _numbered(things: list[str]) -> str:
    return "\n".join(f"{i}. {thing}" for i, thing in enumerate(things, 1))


def _bullets(things: list[str]) -> str:
    return "\n".join(f"- {thing}" for thing in things)
