"""Inspector interface of the routes: the tokens of a chat, the state of the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import RewardError
from cluster.serving.status import Snapshot
from cluster.types import Conversation, Encoding


@dataclass(frozen=True, slots=True)
class TokenizedChat:
    """A conversation as the model reads it. tokens: the text of each id.

    prompt_len, n_bos, truncated: as in `Encoding`.
    """

    ids: list[int]
    tokens: list[str]
    prompt_len: int
    n_bos: int
    truncated: bool


class Inspector(Protocol):
    """A service that shows tokens and its state."""

    async def tokenize(
        self, conversations: Sequence[Conversation], *, deadline_s: float
    ) -> list[TokenizedChat | RewardError]:
        """In order, an error (whose `item` is its index) for what cannot be encoded."""

    async def status(self) -> Snapshot:
        """At most a second old."""


def tokenized(
    encoder: ChatEncoder, conversations: Sequence[Conversation], max_tokens: int
) -> list[TokenizedChat | RewardError]:
    """As `encoder` encodes them. Raises TooLong for more than `max_tokens` in all."""
    return [
        found if isinstance(found, RewardError) else _shown(encoder, found)
        for found in encoder.encode_all(conversations, max_tokens)
    ]


def _shown(encoder: ChatEncoder, found: Encoding) -> TokenizedChat:
    ids = found.input_ids.tolist()
    texts = encoder.token_texts(ids)
    return TokenizedChat(ids, texts, found.prompt_len, found.n_bos, found.truncated)
