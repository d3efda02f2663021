"""General chat template: any Jinja template, rendered as the model card's pipeline does it.

Where the tokenizer's text can be cut at the template's markers (proved on probe chats), markers
typed in a message stay text and a prompt shared by several chats is tokenized once. Elsewhere the
text is tokenized whole, and a message with a marker in it is refused.

The prompt ends where the answer's opening ends (`<|im_start|>assistant\\n`), found in the ids by
the opening's marker; for templates whose opening holds none (Mistral, Llama-2), where the rendering
of the prompt with its generation prompt stops being a prefix of the chat's ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.engine.encoding.chat_template import (
    PROBES,
    OnIds,
    TemplatedIds,
    ignore,
    prompt_key,
    render,
)
from cluster.engine.encoding.markers import MarkedText, Markers
from cluster.engine.encoding.prompt_split import common_text, with_split
from cluster.engine.packing import common_prefix
from cluster.errors import InvalidInput
from cluster.types import Message, TokenIds


@dataclass(frozen=True, slots=True)
class _Head:
    """A prompt's beginning, tokenized once: its ids stand for `length` characters of a chat.

    text: what a chat must begin with, a little longer where the cut needs to see what follows.
    """

    text: str
    ids: TokenIds
    length: int = 0


class GeneralTemplate:
    """A chat template that is known only by what it renders."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        rendered = _renderable(tokenizer)
        self._markers = Markers(tokenizer, [*_sources(tokenizer), *rendered])
        self._marked = self._marked_text(rendered)
        self._opening = self._find_opening()

    def encode_all(
        self, chats: Sequence[Sequence[Message]], on_ids: OnIds = ignore
    ) -> list[TemplatedIds | InvalidInput]:
        """Ids of each chat; a prompt that several chats share is encoded once."""
        groups: dict[tuple[str, ...], list[int]] = {}
        for index, chat in enumerate(chats):
            groups.setdefault(prompt_key(chat), []).append(index)
        found: dict[int, TemplatedIds | InvalidInput] = {}
        for group in groups.values():
            encoded = self._encode_group([chats[i] for i in group], on_ids)
            found.update(zip(group, encoded, strict=True))
        return [found[i] for i in range(len(chats))]

    def prompt_len(self, ids: TokenIds) -> int:
        """Behind the last opening of a turn; 0 if the template's opening has no marker."""
        if self._opening is None:
            return 0
        openings = np.flatnonzero(ids == self._opening[0])
        if not len(openings):
            return 0
        start = int(openings[-1])
        split = start + common_prefix(ids[start:], self._opening)
        return split if split < len(ids) else 0

    def _encode_group(
        self, chats: Sequence[Sequence[Message]], on_ids: OnIds
    ) -> list[TemplatedIds | InvalidInput]:
        """Chats that differ only in their last message; one rendered text is held at a time."""
        prompt = chats[0][:-1]
        typed = self._typed(prompt)
        begun = self._rendered(prompt, generation_prompt=True) if prompt else ""
        head = _Head("", np.zeros(0, np.int32))
        if len(chats) > 1 and not typed and not isinstance(begun, InvalidInput):
            head = self._head(begun, self._rendered(chats[0]))
        ends_at = None
        if self._opening is None and prompt and not isinstance(begun, InvalidInput):
            ends_at = self._encode([begun])[0]
        found: list[TemplatedIds | InvalidInput] = []
        for chat in chats:
            one = self._encode_chat(chat, head, typed or self._typed(chat[-1:], len(prompt)))
            if not isinstance(one, InvalidInput):
                on_ids(sum(map(len, one.parts)))
                if ends_at is not None:
                    one = with_split(one, ends_at)
            found.append(one)
        return found

    def _encode_chat(
        self, chat: Sequence[Message], head: _Head, typed: str | None
    ) -> TemplatedIds | InvalidInput:
        text = self._rendered(chat)
        if isinstance(text, InvalidInput):
            return text
        if typed:
            return self._with_typed(chat, text, typed)
        if not text.startswith(head.text):
            head = _Head("", head.ids[:0])
        ids = self._encode([text[head.length :]])[0]
        return ids if isinstance(ids, InvalidInput) else TemplatedIds((head.ids, ids))

    def _head(self, begun: str, text: str | InvalidInput) -> _Head:
        """What chats of a prompt share, up to where ids allow a cut.

        That is the prompt's last marker, or a later space that no token crosses. begun: the
        rendered prompt. text: one of the chats.
        """
        nothing = _Head("", np.zeros(0, np.int32))
        if self._marked is None or isinstance(text, InvalidInput):
            return nothing
        begun = common_text(begun, text)
        space = self._marked.last_space(begun)
        cut, skip = max((self._markers.last(begun), 0), (space, self._marked.prefix_len))
        ids = self._encode([begun[:cut]])[0]
        if not cut or isinstance(ids, InvalidInput):
            return nothing
        return _Head(begun[: cut + 2], ids, cut + skip)

    def _with_typed(
        self, chat: Sequence[Message], text: str, typed: str
    ) -> TemplatedIds | InvalidInput:
        """A chat in which a caller typed a marker: kept as text, else refused.

        The chat is rendered with stand-ins for what was typed. A template that looks for the
        marker in a message (`</think>`) renders otherwise then, and what it would mean is unknown.
        """
        refusal = InvalidInput(
            f"{typed}, which this model's template cannot keep as text; remove it, or send token "
            "ids"
        )
        if self._marked is None:
            return refusal
        hide, show = self._markers.hide, self._markers.show
        calm = [Message(role=hide(m["role"]), content=hide(m["content"])) for m in chat]
        hidden = self._rendered(calm)
        if isinstance(hidden, InvalidInput) or self._without_bos(show(hidden)) != text:
            return refusal
        ids = self._marked.encode([hidden], read=show)[0]
        return ids if isinstance(ids, InvalidInput) else TemplatedIds((ids,))

    def _without_bos(self, text: str) -> str:
        """As the pipeline removes it, wherever it stands."""
        bos = self._tokenizer.bos_token
        return text.replace(bos, "") if bos else text

    def _typed(self, messages: Sequence[Message], at: int = 0) -> str | None:
        """Where a caller typed a marker, in words; `at` is the index of the first message."""
        for index, message in enumerate(messages, at):
            for key, text in (("content", message["content"]), ("role", message["role"])):
                marker = self._markers.typed(text)
                if marker:
                    place = "" if key == "content" else " in its role"
                    return f"message {index} contains the special token {marker!r}{place}"
        return None

    def _rendered(
        self, chat: Sequence[Message], generation_prompt: bool = False
    ) -> str | InvalidInput:
        try:
            return render(self._tokenizer, chat, generation_prompt)
        except Exception as error:
            # Templates are programs of the checkpoint's author; they raise what they like.
            return InvalidInput(f"the model's chat template refused the conversation: {error}")

    def _encode(self, texts: Sequence[str]) -> list[TokenIds | InvalidInput]:
        return self._marked.encode(texts) if self._marked else [self._whole(t) for t in texts]

    def _whole(self, text: str) -> TokenIds:
        """Exactly as the pipeline tokenizes."""
        return np.array(self._tokenizer(text, add_special_tokens=False)["input_ids"], np.int32)

    def _marked_text(self, rendered: list[str]) -> MarkedText | None:
        """The tokenizer of pieces, where it gives the ids of whole texts."""
        try:
            marked = MarkedText(self._tokenizer, self._markers)
        except ValueError:
            return None
        for text, ids in zip(rendered, marked.encode(rendered), strict=True):
            if isinstance(ids, InvalidInput) or not np.array_equal(ids, self._whole(text)):
                return None
        return marked

    def _find_opening(self) -> TokenIds | None:
        """The ids that open an answer, from their marker on; None if that cannot find them."""
        chat: list[Message] = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes"},
        ]
        texts = (
            self._rendered(chat[:1]),
            self._rendered(chat[:1], generation_prompt=True),
            self._rendered(chat),
        )
        ids: list[TokenIds] = []
        for text in texts:
            found = text if isinstance(text, InvalidInput) else self._encode([text])[0]
            if isinstance(found, InvalidInput):
                return None
            ids.append(found)
        closed, begun, whole = ids
        start = common_prefix(closed, begun)
        opening = begun[start:]
        marked = np.flatnonzero(np.isin(opening, list(self._markers.ids.values())))
        if not len(marked):
            return None
        self._opening = opening[marked[0] :]
        split = self.prompt_len(whole)
        return self._opening if start < split <= common_prefix(begun, whole) else None


def _renderable(tokenizer: Any) -> list[str]:
    """The probe chats as text, with and without a generation prompt, as far as they render."""
    texts: list[str] = []
    for chat in PROBES:
        for generation_prompt in (False, True):
            try:
                texts.append(render(tokenizer, chat, generation_prompt))
            except Exception:
                continue
    return texts


def _sources(tokenizer: Any) -> list[str]:
    template = tokenizer.chat_template
    return list(template.values()) if isinstance(template, dict) else [template]
