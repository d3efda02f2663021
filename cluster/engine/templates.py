"""How messages become token ids, given a tokenizer: the exact Llama-3 way and the general way.

Llama-3: ids are put together message by message, the frame from known ids and the content with
special tokens off, so that `<|eot_id|>` typed by a user stays text; equal to the rendered template
for every chat without such text.

General: the model's own template is rendered and tokenized whole, exactly as the model card's
pipeline does. There a special token typed in a message would become one, so such a message is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from jinja2 import TemplateError

from cluster.errors import InvalidInput
from cluster.types import Message, TokenIds

_PROBE: list[list[Message]] = [
    [
        {"role": "system", "content": "Be terse. "},
        {"role": "user", "content": "  你好 🙂\n\nHow is 12*3?"},
        {"role": "assistant", "content": "36.\n"},
    ],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}],
]


class Template(Protocol):
    """Messages -> ids without BOS, and where the last turn's content begins."""

    def encode_all(self, chats: Sequence[Sequence[Message]]) -> list[TokenIds | InvalidInput]: ...

    def prompt_len(self, ids: TokenIds) -> int: ...


def choose_template(tokenizer: Any) -> Template:
    """The exact Llama-3 construction where it gives the template's ids, else the general way."""
    try:
        exact = Llama3Template(tokenizer)
    except ValueError:
        return GeneralTemplate(tokenizer)
    try:
        rendered = [render(tokenizer, chat) for chat in _PROBE]
    except TemplateError:  # refuses a system message, say: no Llama-3 template
        return GeneralTemplate(tokenizer)
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in rendered]
    built = [ids.tolist() for ids in exact.encode_all(_PROBE) if not isinstance(ids, InvalidInput)]
    return exact if built == expected else GeneralTemplate(tokenizer)


def render(tokenizer: Any, messages: Sequence[Message], generation_prompt: bool = False) -> str:
    """The template's text without BOS, as the model card's snippet makes it."""
    text: str = tokenizer.apply_chat_template(
        [dict(m) for m in messages], tokenize=False, add_generation_prompt=generation_prompt
    )
    return text.replace(tokenizer.bos_token, "") if tokenizer.bos_token else text


class Llama3Template:
    """`<|start_header_id|>role<|end_header_id|>\\n\\ncontent<|eot_id|>` from ids.

    Raises ValueError if the tokenizer lacks one of these tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        names = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
        start, end, eot = (tokenizer.convert_tokens_to_ids(name) for name in names)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or None in (start, end, eot) or tokenizer.unk_token_id in (start, end):
            raise ValueError("not a Llama-3 tokenizer")
        self._text = type(backend).from_str(backend.to_str())
        self._text.encode_special_tokens = True
        self._start = np.array([start], np.int32)
        self._end = np.array([end, *self._encode(["\n\n"])["\n\n"]], np.int32)
        self._eot = np.array([eot], np.int32)

    def encode_all(self, chats: Sequence[Sequence[Message]]) -> list[TokenIds | InvalidInput]:
        """Ids of each chat; each distinct text is tokenized once for all chats."""
        texts = self._encode(
            {text for chat in chats for m in chat for text in (m["role"], m["content"].strip())}
        )
        return [self._assemble(chat, texts) for chat in chats]

    def prompt_len(self, ids: TokenIds) -> int:
        """Just behind the last header; 0 if there is none or nothing follows it."""
        headers = np.flatnonzero(ids == self._end[0])
        split = int(headers[-1]) + len(self._end) if len(headers) else 0
        return split if split < len(ids) else 0

    def _assemble(self, chat: Sequence[Message], texts: dict[str, TokenIds]) -> TokenIds:
        parts: list[TokenIds] = []
        for m in chat:
            content = texts[m["content"].strip()]
            parts += [self._start, texts[m["role"]], self._end, content, self._eot]
        return np.concatenate(parts)

    def _encode(self, texts: Iterable[str]) -> dict[str, TokenIds]:
        order = list(texts)
        found = self._text.encode_batch_fast(order, add_special_tokens=False)
        return {t: np.array(e.ids, np.int32) for t, e in zip(order, found, strict=True)}


class GeneralTemplate:
    """Any other chat template: rendered, then tokenized whole."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = [t for t in tokenizer.all_special_tokens if t]

    def encode_all(self, chats: Sequence[Sequence[Message]]) -> list[TokenIds | InvalidInput]:
        """Ids of each chat, or why the chat cannot be encoded."""
        return [self._encode(chat) for chat in chats]

    def prompt_len(self, ids: TokenIds) -> int:
        """0: where the last turn begins cannot be told from ids alone."""
        return 0

    def _encode(self, chat: Sequence[Message]) -> TokenIds | InvalidInput:
        for index, message in enumerate(chat):
            typed = next((s for s in self._special if s in message["content"]), None)
            if typed:
                return InvalidInput(
                    f"message {index} contains the special token {typed!r}, which this model's "
                    "template cannot keep as text; remove it, or send token ids"
                )
        try:
            text = render(self._tokenizer, chat)
        except Exception as error:
            # Templates are programs of the checkpoint's author; they raise what they like.
            return InvalidInput(f"the model's chat template refused the conversation: {error}")
        return np.array(self._tokenizer(text, add_special_tokens=False)["input_ids"], np.int32)
