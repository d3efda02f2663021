"""Character limit of a conversation: what cannot fit is refused before it is tokenized.

Tokenizing takes some 140 bytes of memory and 1.5 us per character (measured), so one text of 8 MB
would take a gigabyte just to be refused as too long. Knows no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.errors import TooLong
from cluster.types import Message, TokenIds

CHARS_PER_TOKEN = 32
"""Maximum characters per token of the longest conversation. English has 4 to 5; only runs of
spaces, or of one character, have more than this."""


def refuse_endless(conversation: Sequence[Message] | str | TokenIds, max_tokens: int) -> None:
    """Raises TooLong for more than `CHARS_PER_TOKEN` characters for each of `max_tokens`."""
    if isinstance(conversation, str):
        n_chars = len(conversation)
    elif isinstance(conversation, list):
        n_chars = sum(len(message["content"]) for message in conversation)
    else:
        return
    limit = CHARS_PER_TOKEN * max_tokens
    if n_chars > limit:
        raise TooLong(
            f"{n_chars} characters are more than {limit}, {CHARS_PER_TOKEN} for each of the "
            f"{max_tokens} tokens that a conversation may have; shorten it, or set truncate to "
            "left, which keeps its end"
        )
