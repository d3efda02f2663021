"""Parity chats: the fixed set of short, long, multi-turn, system and grouped conversations,
other scripts, a prompt shared by a group, an exact duplicate, a chat that ends on the user.
"""

from __future__ import annotations

from cluster.types import Message


def _chat(*turns: str, system: str | None = None) -> list[Message]:
    """Turns by user and assistant in alternation."""
    roles = ("user", "assistant")
    chat = [Message(role=roles[i % 2], content=turn) for i, turn in enumerate(turns)]
    return [Message(role="system", content=system), *chat] if system else chat


_QUESTION = (
    "I have to tell my landlord that the heating has been broken for two weeks. Write three "
    "sentences that are polite, firm, and name a date by which I want it mended."
)
_STORY = (
    "The ferry left at nine, an hour late, and nobody on the pier could say why. A woman with two "
    "suitcases counted her children again; there were three, as there had been all morning. "
)

CHATS: tuple[tuple[str, list[Message]], ...] = (
    ("one word", _chat("Hi", "Hello!")),
    ("sum", _chat("What is 2+2?", "4")),
    (
        "ends on the user",
        _chat(
            "Hello, how are you?",
            "I'm doing great. How can I help you today?",
            "I'd like to show off how chat templating works!",
        ),
    ),
    ("system", _chat("Name a noble gas.", "Argon.", system="Answer in one word.")),
    ("other scripts", _chat("你好 🙂 Как дела?", "Спасибо, хорошо! नमस्ते — ça va ? \u202eabc")),
    ("spaces to trim", _chat("  What is the capital of Peru? \n", "\n Lima. \n\n")),
    (
        "group, good",
        _chat(
            _QUESTION,
            "Dear Ms Okafor, the heating in flat 4 has not worked since the 2nd. Please have it "
            "mended by Friday the 20th. I would be glad to let the technician in at any time.",
        ),
    ),
    ("group, curt", _chat(_QUESTION, "Fix the heating now.")),
    ("group, off topic", _chat(_QUESTION, "Bananas are rich in potassium and taste of summer.")),
    ("duplicate", _chat(_QUESTION, "Fix the heating now.")),
    (
        "many turns",
        _chat(*(f"And what is {n} times {n}?" if n % 2 else f"{n * n - 1}." for n in range(1, 13))),
    ),
    ("code", _chat("Reverse a list in Python.", "```python\nitems[::-1]\n```\n\n\tor `reversed`.")),
    ("long prompt", _chat(_STORY * 12 + "\n\nHow many children are there?", "Three.")),
    ("long answer", _chat("Tell me a story about a ferry.", _STORY * 16)),
)
