"""Conversation -> Encoding: template, BOS policy, truncation, ids that no message can forge.

Invariant: a conversation's ids are those of the model card's pipeline (BOS policy `tokenizer`),
whatever else is in the call; a bad conversation is an error of its own and harms no other.

Knows nothing of torch or of models beyond their tokenizer and config.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cluster.config import EngineConfig
from cluster.engine import conversations as check
from cluster.engine.checkpoint import load_config, locate, pretrained_options
from cluster.engine.fingerprint import PROBES, encoder_fingerprint
from cluster.engine.templates import choose_template
from cluster.errors import InvalidInput, ModelRefused, RewardError, TooLong
from cluster.types import BosPolicy, Conversation, Encoding, Message, TokenIds, Truncation

log = logging.getLogger(__name__)


class ChatEncoder:
    """Encodes for one model. Thread-safe: nothing changes after construction.

    end_of_turn_id: the id a templated chat ends with, which the model's head reads.
    fingerprint: of all that decides ids; every Encoding names it, and a replica compares it.
    """

    def __init__(
        self,
        tokenizer: Any,
        vocab_size: int,
        max_tokens: int,
        bos: BosPolicy = "tokenizer",
        truncate: Truncation = "error",
    ) -> None:
        self.vocab_size = vocab_size
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._truncate = truncate
        self._template = choose_template(tokenizer)
        self._bos_id: int | None = tokenizer.bos_token_id
        self._bos = np.array(_bos_ids(tokenizer, bos), np.int32)
        self.end_of_turn_id = self._end_of_turn()
        self._warned = False
        self.fingerprint = ""
        self.fingerprint = self._fingerprint()

    @classmethod
    def load(cls, config: EngineConfig) -> ChatEncoder:
        """The tokenizer of `config.model`. Raises ModelRefused if there is none or no template."""
        from transformers import AutoTokenizer

        found = load_config(config).get_text_config()
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                locate(config.model), **pretrained_options(config)
            )
        except (OSError, ValueError) as error:
            raise ModelRefused(
                f"the tokenizer of {config.model!r} cannot be loaded: {error}"
            ) from error
        if not tokenizer.chat_template:
            raise ModelRefused(
                f"the tokenizer of {config.model!r} has no chat template; set "
                "tokenizer.chat_template to the one the model was trained with and save it"
            )
        return cls(
            tokenizer, found.vocab_size, _longest(config, found), config.bos, config.truncate
        )

    def encode(self, conversation: Conversation) -> Encoding:
        """One conversation. Raises InvalidInput or TooLong."""
        result = self.encode_all([conversation])[0]
        if isinstance(result, RewardError):
            raise type(result)(result.message)
        return result

    def encode_all(self, conversations: Sequence[Conversation]) -> list[Encoding | RewardError]:
        """Each conversation's Encoding, or the error that names it, in order."""
        results: list[Encoding | RewardError | None] = [None] * len(conversations)
        chats: dict[int, list[Message]] = {}
        for index, conversation in enumerate(conversations):
            try:
                read = self._read(conversation)
                if isinstance(read, list):
                    chats[index] = read
                else:
                    encoding = self._finish(read)
                    own = check.looks_like_ids(conversation) and not encoding.truncated
                    results[index] = replace(encoding, fingerprint="") if own else encoding
            except InvalidInput as error:
                results[index] = error
        encoded = self._template.encode_all(list(chats.values()))
        for index, ids in zip(chats, encoded, strict=True):
            results[index] = ids if isinstance(ids, InvalidInput) else self._chat(chats[index], ids)
        return [r.at(i) if isinstance(r, RewardError) else _known(r) for i, r in enumerate(results)]

    def _read(self, conversation: Any) -> list[Message] | TokenIds:
        """Messages, or the final ids of text and token ids. Raises InvalidInput."""
        if isinstance(conversation, str):
            return self._templated(check.check_text(conversation, "the text"))
        if check.looks_like_ids(conversation):
            return check.check_ids(conversation, self.vocab_size)
        if check.is_pair(conversation):
            return check.check_pair(conversation)
        return check.check_messages(conversation)

    def _templated(self, text: str) -> TokenIds:
        """Text that already went through the template: any BOS it has gives way to the policy's."""
        bos = self._tokenizer.bos_token
        while bos and text.startswith(bos):
            text = text.removeprefix(bos)
        if not text:
            raise InvalidInput("the text is empty; give the templated conversation")
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return np.concatenate([self._bos, np.array(ids, np.int32)])

    def _chat(self, messages: list[Message], ids: TokenIds) -> Encoding | RewardError:
        if messages[-1]["role"] != "assistant" and not self._warned:
            self._warned = True
            # Without the role: it is the caller's text, and logs hold none of that.
            log.warning(
                "a conversation does not end on an assistant turn, which reward models judge"
            )
        try:
            return self._finish(np.concatenate([self._bos, ids]))
        except TooLong as error:
            return error

    def _finish(self, ids: TokenIds) -> Encoding:
        """Cut or refuse what is too long, find the split and count the BOS. Raises TooLong."""
        n_bos = self._count_bos(ids)
        truncated = len(ids) > self.max_tokens
        if truncated:
            if self._truncate == "error":
                raise TooLong(
                    f"{len(ids)} tokens are more than {self.max_tokens}; shorten the conversation "
                    "or set truncate to left, which keeps its end"
                )
            tail = self.max_tokens - n_bos
            ids = np.concatenate([ids[:n_bos], ids[len(ids) - tail :]])
        return Encoding(ids, self._template.prompt_len(ids), n_bos, truncated, self.fingerprint)

    def _fingerprint(self) -> str:
        settings = {
            "bos": self._bos.tolist(),
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

    def _end_of_turn(self) -> int:
        ids = self._template.encode_all([[{"role": "user", "content": "x"}]])[0]
        if isinstance(ids, InvalidInput):
            raise ModelRefused(f"the chat template cannot render one user message: {ids}")
        return int(ids[-1])


def _longest(config: EngineConfig, found: Any) -> int:
    """Tokens of the longest conversation; ALiBi models (Bloom) may name none themselves."""
    limits = [config.max_tokens, getattr(found, "max_position_embeddings", None)]
    named = [limit for limit in limits if limit]
    if not named:
        raise ModelRefused(
            f"the config of {config.model!r} names no longest conversation "
            "(max_position_embeddings); set max_tokens"
        )
    return min(named)


def _bos_ids(tokenizer: Any, policy: BosPolicy) -> list[int]:
    """The leading BOS ids by policy; `tokenizer`: as many as its post-processor adds."""
    if policy == "none" or tokenizer.bos_token_id is None:
        return []
    if policy == "one":
        return [tokenizer.bos_token_id]
    added = tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id
    return [tokenizer.bos_token_id] if added else []


def _known(result: Encoding | RewardError | None) -> Encoding | RewardError:
    assert result is not None
    return result
