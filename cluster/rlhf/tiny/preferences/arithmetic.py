"""Right and wrong arithmetic on small numbers.

The held-out values are pairs of operands, in either order: a model that scores well on them has
learnt to compute. Wrong answers are one or two off (in multiplication: rows of the table), a few
off, and far off, the nearer the better: a reward that knows by how much is easier to learn and to
follow than one that knows only right and wrong.
"""

from __future__ import annotations

from random import Random

from cluster.rlhf.tiny.preferences.groups import Group, Split, graded, split_of, user

_QUESTIONS = {
    "+": ("What is {a} + {b}?", "Calculate {a} plus {b}.", "{a} + {b} = ?",
          "How much is {a} plus {b}?", "Add {b} to {a}."),
    "-": ("What is {a} - {b}?", "Calculate {a} minus {b}.", "{a} - {b} = ?",
          "How much is {a} minus {b}?", "Take {b} away from {a}."),
    "*": ("What is {a} * {b}?", "Calculate {a} times {b}.", "{a} * {b} = ?",
          "How much is {a} times {b}?", "Multiply {a} by {b}."),
}  # fmt: skip
_STORIES = {
    "+": "I have {a} {things} and get {b} more. How many {things} do I have?",
    "-": "I have {a} {things} and give away {b}. How many {things} are left?",
    "*": "I have {a} boxes with {b} {things} in each. How many {things} do I have?",
}
_THINGS = ("apples", "books", "coins", "pens", "eggs", "stamps", "cards", "stones")
_ANSWERS = ("{r}", "{r}", "{r}.", "The answer is {r}.", "It is {r}.", "That makes {r}.")
_NAMES = {"+": "addition", "-": "subtraction", "*": "multiplication"}


def addition(rng: Random, split: Split) -> Group:
    return _group(rng, split, "+")


def subtraction(rng: Random, split: Split) -> Group:
    return _group(rng, split, "-")


def multiplication(rng: Random, split: Split) -> Group:
    return _group(rng, split, "*")


def operands(rng: Random, split: Split, sign: str) -> tuple[int, int]:
    """Two operands whose unordered pair belongs to the split; a - b is never negative."""
    top = 9 if sign == "*" else 12
    while True:
        a, b = rng.randint(0, top), rng.randint(0, top)
        low, high = sorted((a, b))
        if split_of(f"{low} {sign} {high}") == split:
            return (high, low) if sign == "-" else (a, b)


def _group(rng: Random, split: Split, sign: str) -> Group:
    a, b = operands(rng, split, sign)
    question = rng.choice((*_QUESTIONS[sign], _STORIES[sign]))
    prompt = question.format(a=a, b=b, things=rng.choice(_THINGS))
    answer = rng.choice(_ANSWERS)
    right = _result(a, b, sign)
    unit = max(1, rng.choice((a, b))) if sign == "*" else 1
    wrong = sorted(_wrong(rng, right, unit), key=lambda result: abs(result - right))
    texts = (answer.format(r=result) for result in (right, *wrong))
    return graded(rng, _NAMES[sign], [user(prompt)], *texts)


def _result(a: int, b: int, sign: str) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def _wrong(rng: Random, right: int, unit: int) -> list[int]:
    """A near miss, a wider one and a wild one, on either side, none negative."""
    return [
        rng.choice([r for n in steps for r in (right - n * unit, right + n * unit) if r >= 0])
        for steps in ((1, 2), (3, 4, 5), (8, 10, 15, 20))
    ]
