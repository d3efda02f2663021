"""Template markers: the added tokens that structure a chat, and tokenization of the text between.

Markers are the added tokens that structure a chat: every special token, and every other added
token that the template itself writes (`<|start_header_id|>` or `<think>` where a tokenizer does not
flag them as special). Tokenizers cut text at added tokens before anything else, so rendered text
can be cut there as well, each marker taken as its id and each piece between two markers tokenized
by itself, with no marker recognised in it: what a user typed stays text.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from tokenizers import AddedToken, models, pre_tokenizers

from cluster.errors import InvalidInput
from cluster.types import TokenIds

_BLANK = " \t\r\n\u2581"
_NONCE = secrets.token_hex(8)
"""No text can hold what this process draws for itself."""
_CONTEXT = f"<context {_NONCE}>"


class Markers:
    """The markers of one tokenizer. ids: by the marker's text."""

    def __init__(self, tokenizer: Any, written: Iterable[str]) -> None:
        """written: texts of the template's own making (its source, rendered chats).

        White space that a vocabulary keeps as added tokens (Gemma's blank lines) is no marker.
        """
        texts = list(written)
        self.ids: dict[str, int] = {}
        self.swallow: set[str] = set()
        for id_, token in tokenizer.added_tokens_decoder.items():
            text = token.content
            if text.strip(_BLANK) and (token.special or any(text in t for t in texts)):
                self.ids[text] = id_
                if token.rstrip:
                    self.swallow.add(text)
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        self._hidden = {text: f"<{_NONCE} {id_}>" for text, id_ in self.ids.items()}
        self._shown = {hidden: text for text, hidden in self._hidden.items()}

    def typed(self, text: str) -> str | None:
        """The first marker in a caller's text."""
        found = self._pattern.search(text)
        return found.group() if found else None

    def last(self, text: str) -> int:
        """Where the last marker of `text` begins; 0 if there is none."""
        start = 0
        for found in self._pattern.finditer(text):
            start = found.start()
        return start

    def split(self, text: str) -> list[str]:
        """Text, marker, text, marker, ..., text."""
        return self._pattern.split(text)

    def hide(self, text: str) -> str:
        """`text` with a stand-in for each marker, which no template or tokenizer knows."""
        return self._pattern.sub(lambda found: self._hidden[found.group()], text)

    def show(self, text: str) -> str:
        """The inverse of `hide`."""
        return re.sub(rf"<{_NONCE} \d+>", lambda found: self._shown[found.group()], text)


class MarkedText:
    """Tokenizes rendered text: markers as their ids, everything else as text without markers.

    prefix_len: 1 if a text's first word is read as if a space stood before it.

    Raises ValueError for a tokenizer without a Rust backend or whose markers take in the white
    space before them.
    """

    def __init__(self, tokenizer: Any, markers: Markers) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        added = tokenizer.added_tokens_decoder.values()
        if backend is None or any(t.lstrip for t in added if t.content in markers.ids):
            raise ValueError("the pieces of this tokenizer's text depend on each other")
        self._markers = markers
        self._ids = {m: np.array([id_], np.int32) for m, id_ in markers.ids.items()}
        self._is_marker = np.zeros(max([len(tokenizer), *markers.ids.values()]) + 2, np.bool_)
        self._is_marker[list(markers.ids.values())] = True
        if tokenizer.unk_token_id is not None:
            self._is_marker[tokenizer.unk_token_id] = False  # what any unknown character becomes
        self._backend = _without_markers(backend, added, markers)
        self._spaces_separate = _spaces_separate(self._backend)
        prefixed = self._backend.encode("a", add_special_tokens=False).tokens[0].startswith("▁")
        self.prefix_len = 1 if prefixed else 0

    def encode(
        self, texts: Sequence[str], read: Callable[[str], str] = lambda piece: piece
    ) -> list[TokenIds | InvalidInput]:
        """The ids of each text; each distinct piece is tokenized once.

        read: applied to each piece before it is tokenized. A piece that becomes a marker all the
        same, through Unicode normalization say, is refused.
        """
        cut = [self._markers.split(text) for text in texts]
        pieces: dict[tuple[str, bool], TokenIds] = {}
        for parts in cut:
            for i in range(0, len(parts), 2):
                parts[i] = read(parts[i])
                if i and parts[i - 1] in self._markers.swallow:
                    parts[i] = parts[i].lstrip()
                pieces[parts[i], i == 0] = np.zeros(0, np.int32)
        self._tokenize(pieces)
        return [self._assemble(parts, pieces) for parts in cut]

    def last_space(self, text: str) -> int:
        """The last single space of `text` at which the ids can be cut, 0 if there is none.

        What follows is then tokenized as a text of its own, without its first `prefix_len`
        characters.
        """
        if not self._spaces_separate:
            return 0
        end = len(text) - 1  # a character must follow, to show that the space is a single one
        while (end := text.rfind(" ", 1, max(end, 0))) > 0:
            if not text[end - 1].isspace() and not text[end + 1].isspace():
                return end
        return 0

    def plain(self, texts: Sequence[str]) -> list[TokenIds | InvalidInput]:
        """The ids of texts that stand behind a marker; markers in them stay text."""
        pieces = {(text, False): np.zeros(0, np.int32) for text in texts}
        self._tokenize(pieces)
        return [self._checked(pieces[text, False]) for text in texts]

    def _tokenize(self, pieces: dict[tuple[str, bool], TokenIds]) -> None:
        """Fill in the ids. Behind a marker text has no beginning of its own: `_CONTEXT` says so."""
        order = [key for key in pieces if key[0]]
        texts = [piece if first else _CONTEXT + piece for piece, first in order]
        found = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        for key, encoding in zip(order, found, strict=True):
            pieces[key] = np.array(encoding.ids if key[1] else encoding.ids[1:], np.int32)

    def _assemble(
        self, parts: list[str], pieces: dict[tuple[str, bool], TokenIds]
    ) -> TokenIds | InvalidInput:
        ids: list[TokenIds] = []
        for i, part in enumerate(parts):
            found = self._ids[part] if i % 2 else self._checked(pieces[part, i == 0])
            if isinstance(found, InvalidInput):
                return found
            ids.append(found)
        return np.concatenate(ids)

    def _checked(self, piece: TokenIds) -> TokenIds | InvalidInput:
        if not self._is_marker[piece].any():
            return piece
        return InvalidInput(
            "a message holds text that this tokenizer reads as one of the template's own tokens; "
            "remove it, or send token ids"
        )


def _spaces_separate(backend: Any) -> bool:
    """Whether no token reaches across the beginning of a word, as in SentencePiece's BPE.

    Then merges on both sides of a space do not see each other, and text may be cut there.
    """
    words, cut = backend.model, backend.pre_tokenizer
    if not isinstance(words, models.BPE) or not isinstance(cut, pre_tokenizers.Metaspace | None):
        return False
    state = json.loads(backend.to_str())
    normalizer = state["normalizer"] or {"type": "Replace"}
    steps = {part["type"] for part in normalizer.get("normalizers", [normalizer])}
    if not steps <= {"Prepend", "Replace"} or (state["pre_tokenizer"] or {}).get("split"):
        return False
    return not any("▁" in token.lstrip("▁") for token in state["model"]["vocab"])


def _without_markers(backend: Any, added: Iterable[Any], markers: Markers) -> Any:
    """A copy of the backend that reads markers as text, those not flagged as special too."""
    text = type(backend).from_str(backend.to_str())
    text.no_truncation()
    text.no_padding()
    plain = [t.content for t in added if t.content in markers.ids and not t.special]
    text.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in plain])
    text.encode_special_tokens = True
    text.add_tokens([AddedToken(_CONTEXT, special=False, normalized=False)])
    return text
