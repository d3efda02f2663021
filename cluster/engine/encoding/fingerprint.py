"""Encoder fingerprint: equal where the same conversation becomes the same ids.

A reward is the model's only if its own tokenizer, template and limits made the ids. The encoder may
run in another process, on another machine, with another copy of the files; so the fingerprint
covers content, never names or paths: the tokenizer's rules and special tokens, the template, the
BOS ids and limits, and the ids of a few probe chats, in which a difference of library versions
shows.

Knows nothing of torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from cluster.errors import RewardError
from cluster.types import Conversation, Encoding, Message

CHATS: tuple[list[Message], ...] = (
    [
        {"role": "system", "content": "Be terse. "},
        {"role": "user", "content": "  你好 🙂\n\nHow is 12*3?"},
        {"role": "assistant", "content": "36.\n"},
    ],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
)
PROBES: tuple[Conversation, ...] = (
    *CHATS,
    "A text\tthat is templated already: naïve 1234567 <b>",
)
"""Encoded by every encoder; one that refuses a probe is told from one that does not."""


def encoder_fingerprint(
    tokenizer: Any, settings: dict[str, Any], probes: Sequence[Encoding | RewardError]
) -> str:
    """32 hex digits. settings: what else decides ids besides the tokenizer (BOS ids, limits)."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (
        type(tokenizer).__name__,
        _rules(tokenizer),
        str(tokenizer.chat_template),
        json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str),
        json.dumps(settings, sort_keys=True),
        *(_ids(probe) for probe in probes),
    ):
        digest.update(part.encode(errors="surrogatepass") + b"\0")
    return digest.hexdigest()


def _rules(tokenizer: Any) -> str:
    """Vocabulary, merges and normalisation, without what calls leave behind (padding)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps(sorted(tokenizer.get_vocab().items()))
    core = type(backend).from_str(backend.to_str())
    core.no_padding()
    core.no_truncation()
    rules: str = core.to_str()
    return rules


def _ids(probe: Encoding | RewardError) -> str:
    if isinstance(probe, RewardError):
        return probe.code
    return f"{probe.input_ids.tolist()} {probe.prompt_len} {probe.truncated}"
