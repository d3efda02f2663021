"""Chat encoder: template, BOS policy, truncation, and ids that no message can forge.

Invariant: a conversation's ids are those of the model card's pipeline (BOS policy `tokenizer`),
whatever else is in the call; a bad conversation is an error of its own and does not affect others.

Knows nothing of torch or of models beyond their tokenizer and config.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cluster.config import EngineConfig
from cluster.data import validation as check
from cluster.engine.checkpoint import load_config, longest
from cluster.engine.encoding.chat_template import TemplatedIds
from cluster.engine.encoding.fingerprint import PROBES, encoder_fingerprint
from cluster.engine.encoding.template_choice import choose_template
from cluster.engine.encoding.text_limit import refuse_endless
from cluster.engine.encoding.token_total import bounded_count
from cluster.engine.encoding.tokenizer import (
    added_ids,
    load_tokenizer,
    refuse_foreign_ids,
    token_texts,
    with_bos,
)
from cluster.engine.packing import common_prefix
from cluster.errors import InvalidInput, ModelRefused, RewardError, TooLong
from cluster.types import BosPolicy, Conversation, Encoding, Message, TokenIds, Truncation

log = logging.getLogger(__name__)


class ChatEncoder:
    """Encodes for one model. Thread-safe: nothing changes after construction.

    closing_ids: the ids behind a templated answer's content; the head reads the last of them.
    fingerprint: of all that decides ids; every Encoding names it, and a replica compares it.
    """

    def __init__(
        self,
        tokenizer: Any,
        vocab_size: int,
        max_tokens: int,
        bos: BosPolicy = "tokenizer",
        truncate: Truncation = "error",
        pad_id: int | None = None,
    ) -> None:
        """pad_id: the model's; ids that end in it are refused, as transformers would skip them.

        Raises ModelRefused for a tokenizer whose chats cannot be encoded.
        """
        self.vocab_size = vocab_size
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._truncate = truncate
        self._pad_id = pad_id
        self._template = choose_template(tokenizer)
        self._bos_id: int | None = tokenizer.bos_token_id
        prefix, suffix = added_ids(tokenizer)
        self._prefix = np.array(with_bos(prefix, self._bos_id, bos), np.int32)
        self._suffix = np.array(suffix, np.int32)
        self.closing_ids = self._closing_ids()
        self._warned = False
        self.fingerprint = ""
        self.fingerprint = self._fingerprint()

    @classmethod
    def load(cls, config: EngineConfig) -> ChatEncoder:
        """The encoder of `config.model`. Raises ModelRefused, see `load_tokenizer`."""
        found = load_config(config).get_text_config()
        tokenizer = load_tokenizer(config)
        refuse_foreign_ids(tokenizer, found.vocab_size)
        return cls(
            tokenizer,
            found.vocab_size,
            longest(found, config.max_tokens),
            config.bos,
            config.truncate,
            getattr(found, "pad_token_id", None),
        )

    @property
    def end_of_turn_id(self) -> int:
        """The id a templated chat ends with, which the model's head reads."""
        return self.closing_ids[-1]

    def encode(self, conversation: Conversation) -> Encoding:
        """One conversation. Raises InvalidInput or TooLong."""
        result = self.encode_all([conversation])[0]
        if isinstance(result, RewardError):
            raise type(result)(result.message)
        return result

    def encode_all(
        self, conversations: Sequence[Conversation], max_total_tokens: int | None = None
    ) -> list[Encoding | RewardError]:
        """Each conversation's Encoding, or the error that names it, in order.

        A prompt shared by several chats is tokenized once. Raises TooLong as soon as the
        conversations have more than `max_total_tokens` in all, before their ids are built.
        """
        count = bounded_count(max_total_tokens)
        results: list[Encoding | RewardError | None] = [None] * len(conversations)
        chats: dict[int, list[Message]] = {}
        read = check.Reader(self.vocab_size)
        for index, conversation in enumerate(conversations):
            try:
                found = read(conversation)
                if self._truncate == "error":
                    refuse_endless(found, self.max_tokens)
                if isinstance(found, list):
                    chats[index] = found
                    continue
                ids = self._templated(found) if isinstance(found, str) else found
            except InvalidInput as error:
                results[index] = error
                continue
            count(len(ids))
            encoding = self._finish((ids,))
            if found is ids and isinstance(encoding, Encoding) and not encoding.truncated:
                encoding = replace(encoding, fingerprint="")  # the caller's own ids
            results[index] = encoding
        encoded = self._template.encode_all(list(chats.values()), count)
        for index, templated in zip(chats, encoded, strict=True):
            results[index] = self._chat(chats[index], templated)
        return [r.at(i) if isinstance(r, RewardError) else _known(r) for i, r in enumerate(results)]

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """The text of each id, special tokens included."""
        return token_texts(self._tokenizer, ids)

    def _templated(self, text: str) -> TokenIds:
        """Text that is already templated: the BOS policy replaces any BOS it has."""
        bos = self._tokenizer.bos_token
        while bos and text.startswith(bos):
            text = text.removeprefix(bos)
        if not text:
            raise InvalidInput("the text is empty; give the templated conversation")
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return np.concatenate([self._prefix, np.array(ids, np.int32), self._suffix])

    def _chat(
        self, messages: list[Message], templated: TemplatedIds | InvalidInput
    ) -> Encoding | RewardError:
        if isinstance(templated, InvalidInput):
            return templated
        if messages[-1]["role"] != "assistant" and not self._warned:
            self._warned = True
            # Without the role: it is the caller's text, and logs hold none of that.
            log.warning(
                "a conversation does not end on an assistant turn, which reward models judge"
            )
        prompt_len = templated.prompt_len
        if prompt_len:
            prompt_len += len(self._prefix)
        return self._finish((self._prefix, *templated.parts, self._suffix), prompt_len)

    def _finish(
        self, parts: tuple[TokenIds, ...], prompt_len: int | None = None
    ) -> Encoding | RewardError:
        """Cut or refuse what is too long, find the split and count the BOS."""
        n_tokens = sum(map(len, parts))
        if n_tokens > self.max_tokens and self._truncate == "error":
            return TooLong(
                f"{n_tokens} tokens are more than {self.max_tokens}; shorten the conversation "
                "or set truncate to left, which keeps its end"
            )
        ids = np.concatenate(parts)
        n_bos = self._count_bos(ids)
        cut = max(0, n_tokens - self.max_tokens)
        if cut:
            if n_bos >= self.max_tokens:
                return TooLong(
                    f"the {n_bos} BOS alone fill max_tokens {self.max_tokens}; set it higher"
                )
            ids = np.concatenate([ids[:n_bos], ids[n_bos + cut :]])
        wrong = self._unscorable(ids)
        if wrong is not None:
            return wrong
        if prompt_len is None:
            split = self._template.prompt_len(ids)
        else:
            split = prompt_len - cut if prompt_len - cut > n_bos else 0
        return Encoding(ids, split, n_bos, bool(cut), self.fingerprint)

    def _unscorable(self, ids: TokenIds) -> InvalidInput | None:
        if ids[-1] == self._pad_id:
            return InvalidInput(
                f"the ids end in the padding token {self._pad_id}, which transformers would not "
                "score; send ids without padding"
            )
        largest = int(ids.max())
        if largest >= self.vocab_size:
            return InvalidInput(
                f"the text has token id {largest}, outside the model's vocabulary of "
                f"{self.vocab_size}; remove {self._tokenizer.decode([largest])!r} from it"
            )
        return None

    def _fingerprint(self) -> str:
        settings = {
            "prefix": self._prefix.tolist(),
            "suffix": self._suffix.tolist(),
            "max_tokens": self.max_tokens,
            "truncate": self._truncate,
            "vocab_size": self.vocab_size,
        }
        return encoder_fingerprint(self._tokenizer, settings, self.encode_all(PROBES))

    def _count_bos(self, ids: TokenIds) -> int:
        count = 0
        while count < len(ids) and ids[count] == self._bos_id:
            count += 1
        return count

    def _closing_ids(self) -> list[int]:
        """The ids that follow the answer in two chats whose answers end differently."""
        chats: list[list[Message]] = [
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": answer}]
            for answer in ("Yes", "12")
        ]
        ids: list[TokenIds] = []
        for found in self._template.encode_all(chats):
            if isinstance(found, InvalidInput):
                raise ModelRefused(
                    f"the chat template cannot render a user's message and an answer: {found}. "
                    "Set tokenizer.chat_template to the one the model was trained with"
                )
            ids.append(np.concatenate([*found.parts, self._suffix])[::-1])
        closing = ids[0][: common_prefix(*ids)][::-1].tolist()
        return closing or [int(ids[0][0])]


def _known(result: Encoding | RewardError | None) -> Encoding | RewardError:
    assert result is not None
    return result
