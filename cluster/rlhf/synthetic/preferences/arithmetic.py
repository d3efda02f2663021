"""Synthetic arithmetic: right and wrong sums of small numbers.

The held-out values are pairs of digits in their order: 3 + 8 may be held out while 8 + 3 is
trained on. Most wrong answers are near misses; one is far off, and worse still.
"""

from __future__ import annotations

from random import Random

from cluster.rlhf.synthetic.preferences.groups import GradedGroup, Split, graded, split_of, user

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
_ANSWERS = ("{r}", "The answer is {r}.", "That makes {r}.", "{a} {sign} {b} = {r}",
            "{a} {sign} {b} = {r}.", "It is {a} {sign} {b} = {r}.")  # fmt: skip
_NAMES = {"+": "addition", "-": "subtraction", "*": "multiplication"}
_LONG = (10, 11, 12, 20)


def addition(rng: Random, split: Split) -> GradedGroup:
    return _group(rng, split, "+")


def subtraction(rng: Random, split: Split) -> GradedGroup:
    return _group(rng, split, "-")


def multiplication(rng: Random, split: Split) -> GradedGroup:
    return _group(rng, split, "*")


def long_multiplication(rng: Random, split: Split) -> GradedGroup:
    """A digit times 10, 11, 12 or 20; their sum is a near miss too."""
    return _group(rng, split, "*", long=True)


def operands(rng: Random, split: Split, sign: str, long: bool = False) -> tuple[int, int]:
    """Two digits that are a pair of the split in this order; a - b is never negative. long: one of
    them has two digits."""
    while True:
        a, b = rng.choice(_LONG) if long else rng.randint(0, 9), rng.randint(0, 9)
        if long and rng.random() < 0.5:
            a, b = b, a
        if sign == "-" and a < b:
            a, b = b, a
        if split_of(f"{a} {sign} {b}") == split:
            return a, b


def _group(rng: Random, split: Split, sign: str, long: bool = False) -> GradedGroup:
    a, b = operands(rng, split, sign, long)
    question = rng.choice((*_QUESTIONS[sign], _STORIES[sign]))
    prompt = question.format(a=a, b=b, things=rng.choice(_THINGS))
    answer = rng.choice(_ANSWERS)
    right = _result(a, b, sign)
    misses = _near_misses(rng, a, b, sign) | ({a + b} - {right} if long else set())
    near = rng.sample(sorted(misses), 2)
    far = right + rng.choice([d for d in range(-60, 61) if abs(d) > 20 and right + d >= 0])
    tiers = ([right], near, [far])
    texts = ([answer.format(a=a, b=b, sign=sign, r=r) for r in tier] for tier in tiers)
    name = "long_multiplication" if long else _NAMES[sign]
    return graded(rng, name, [user(prompt)], *texts)


def _result(a: int, b: int, sign: str) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def _near_misses(rng: Random, a: int, b: int, sign: str) -> set[int]:
    """One or two off, in multiplication rows of the table; ten off; the digits swapped."""
    right = _result(a, b, sign)
    step = max(1, rng.choice((a, b))) if sign == "*" else 1
    near = {right + n for n in (step, -step, 2 * step, -2 * step, 10, -10)}
    near.add(int(str(right)[::-1]))
    return {wrong for wrong in near if wrong >= 0 and wrong != right}
