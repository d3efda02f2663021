"""Right and wrong arithmetic on small numbers.

The held-out values are pairs of operands, in either order: a model that scores well on them has
learnt to compute. Wrong answers are near misses (one or two off, one row of the table off, the
digits swapped, the other operation) and one that is further away, which still beats nothing.
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
    near, far = _near_misses(rng, a, b, sign), _far_miss(rng, right)
    tiers = ([right], rng.sample(sorted(near), 2), [far])
    texts = ([answer.format(r=r) for r in tier] for tier in tiers)
    return graded(rng, _NAMES[sign], [user(prompt)], *texts)


def _result(a: int, b: int, sign: str) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def _near_misses(rng: Random, a: int, b: int, sign: str) -> set[int]:
    right = _result(a, b, sign)
    step = max(1, rng.choice((a, b))) if sign == "*" else 1
    near = {right + step, right - step, right + 2 * step, right - 2 * step}
    near |= {right + 10, right - 10, int(str(right)[::-1])}
    return {wrong for wrong in near if wrong >= 0 and wrong != right}


def _far_miss(rng: Random, right: int) -> int:
    return right + rng.choice([d for d in range(-60, 61) if abs(d) > 20 and right + d >= 0])
