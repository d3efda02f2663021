"""Synthetic conversation: politeness, topic, whole sentences, memory of earlier turns."""

from __future__ import annotations

from random import Random

from cluster.rlhf.synthetic.preferences.groups import (
    GradedGroup,
    Split,
    assistant,
    graded,
    system,
    user,
)
from cluster.rlhf.synthetic.preferences.words import (
    names,
    phrases,
    prose_about,
    sentences_about,
    topics,
)

_REQUESTS = phrases("""
Can you help me with {t}?|I do not understand {t}.|Please tell me more about {t}.|I have a problem
with {t}.|My question is about {t}.|What should I know about {t}?|I need advice on {t}.
""")
_POLITE_OPENINGS = phrases("""
Thank you for asking!|I am happy to help.|That is a good question.|Of course, with pleasure.|
Certainly, let me help you.|I am glad that you asked.|Sure, I would love to help.
""")
_POLITE_ENDINGS = phrases("""
Please ask me if you need more.|I hope this helps you.|Have a nice day!|Let me know how it goes.|
Thank you for your patience.|You are always welcome.|I wish you good luck!
""")
_RUDE_OPENINGS = phrases("""
What a stupid question.|Stop bothering me.|You are an idiot.|I do not care.|Are you too lazy to
think?|Go away.|Not again, you fool.
""")
_RUDE_ENDINGS = phrases("""
Now shut up.|Leave me alone.|You will never get it anyway.|Do not waste my time.|Only a fool would
ask.|Find it out yourself, you moron.|I hate your questions.
""")
_STRAY = ["qx", "zz", "#@", "0x", "]]", "%%", "vvv", "~~", "jjq", ";;", "wxk", "<>", "{}", "kkp"]


def politeness(rng: Random, split: Split) -> GradedGroup:
    """The same advice, kindly wrapped, then plain, then rude."""
    topic = topics(rng, split, 1)[0]
    request = rng.choice(_REQUESTS).format(t=topic)
    advice = prose_about(rng, topic, rng.randint(1, 2))
    kind = _wrapped(rng, advice, _POLITE_OPENINGS, _POLITE_ENDINGS)
    rude = _wrapped(rng, advice, _RUDE_OPENINGS, _RUDE_ENDINGS)
    return graded(rng, "politeness", [user(request)], kind, advice, rude)


def on_topic(rng: Random, split: Split) -> GradedGroup:
    """About what was asked, then half of it, then about something else."""
    asked, other, former = topics(rng, split, 3)
    n = rng.randint(1, 2)
    right, wrong = prose_about(rng, asked, n), prose_about(rng, other, n)
    half = f"{prose_about(rng, asked, 1)} {prose_about(rng, other, 1)}"
    prompt = [user(rng.choice(_REQUESTS).format(t=asked))]
    if rng.random() < 0.3:
        before = rng.choice(_REQUESTS).format(t=former)
        prompt = [user(before), assistant(prose_about(rng, former, 1)), *prompt]
    return graded(rng, "on_topic", prompt, right, half, wrong)


def memory(rng: Random, split: Split) -> GradedGroup:
    """A name given some turns ago, recalled, then the other name of the chat, then a stranger's."""
    mine, theirs, other = names(rng, split, 3)
    topic = topics(rng, split, 1)[0]
    prompt = [
        system(f"You are {mine}, a helpful assistant."),
        user(rng.choice(("My name is {n}.", "I am {n}.", "Call me {n}.")).format(n=theirs)),
        assistant(f"Hello {theirs}, nice to meet you!"),
    ]
    if rng.random() < 0.4:
        prompt += [user(f"Tell me about {topic}."), assistant(prose_about(rng, topic, 1))]
    about_me = rng.random() < 0.4
    question = "What is your name?" if about_me else "What is my name?"
    reply = rng.choice(("{o} name is {n}.", "It is {n}.", "The name is {n}.", "That is {n}."))
    right, swapped = (mine, theirs) if about_me else (theirs, mine)
    owner = "My" if about_me else "Your"
    texts = (reply.format(o=owner, n=name) for name in (right, swapped, other))
    return graded(rng, "memory", [*prompt, user(question)], *texts)


def fluency(rng: Random, split: Split) -> GradedGroup:
    """Sentences, then shuffled or stuttering words, then noise."""
    topic = topics(rng, split, 1)[0]
    text = " ".join(sentences_about(rng, topic, rng.randint(1, 2)))
    parts = text.split()
    shuffled = " ".join(rng.sample(parts, len(parts)))
    stutter = " ".join([rng.choice(parts)] * rng.randint(4, 12))
    noise = " ".join(rng.choices(_STRAY, k=rng.randint(3, 12)))
    scrambled = "".join(rng.sample(text, len(text)))
    prompt = [user(rng.choice(_REQUESTS).format(t=topic))]
    broken = rng.choice((noise, scrambled, _characters(rng)))
    return graded(rng, "fluency", prompt, text, [shuffled, stutter], broken)


def _wrapped(rng: Random, text: str, openings: list[str], endings: list[str]) -> str:
    before = rng.choice(openings) if rng.random() < 0.7 else ""
    after = rng.choice(endings) if rng.random() < 0.6 or not before else ""
    return f"{before} {text} {after}".strip()


def _characters(rng: Random) -> str:
    """Random characters, so that every byte of UTF-8 is met in training."""
    planes = ((0x20, 0x7F), (0xA1, 0x600), (0x3041, 0x9FFF), (0x1F300, 0x1FAFF))
    low, high = rng.choice(planes)
    return "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(5, 30)))
