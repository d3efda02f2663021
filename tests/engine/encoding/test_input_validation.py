"""What the encoder refuses: bad conversations, texts too long, tokenizers of another model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.conversations import CARD_CHAT, TEXT_PART

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.encoding.tokenizer import refuse_foreign_ids
from cluster.errors import InvalidInput, ModelRefused, RewardError, TooLong
from cluster.types import Encoding, Message


def test_a_tokenizer_with_more_ids_than_the_model_is_refused_at_load(tiny_tokenizer: Any) -> None:
    refuse_foreign_ids(tiny_tokenizer, len(tiny_tokenizer))
    with pytest.raises(ModelRefused, match="resize_token_embeddings"):
        refuse_foreign_ids(tiny_tokenizer, len(tiny_tokenizer) - 1)


@pytest.mark.parametrize("is_chat", [True, False])
def test_a_text_without_end_is_refused_before_it_is_tokenized(
    tiny_tokenizer: Any, is_chat: bool
) -> None:
    encoder = ChatEncoder(tiny_tokenizer, len(tiny_tokenizer), 50)
    text = "a " * (16 * 50)
    longest: Any = [{"role": "user", "content": text}] if is_chat else text
    with pytest.raises(TooLong, match="tokens are more than 50"):
        encoder.encode(longest)
    longer: Any = [*longest, {"role": "assistant", "content": "a"}] if is_chat else f"{text}a"
    with pytest.raises(TooLong, match="1601 characters are more than 1600"):
        encoder.encode(longer)
    cut = ChatEncoder(tiny_tokenizer, len(tiny_tokenizer), 50, truncate="left").encode(longer)
    assert (cut.n_tokens, cut.truncated) == (50, True)


def test_too_long_is_an_error_unless_the_left_may_go(tiny_tokenizer: Any) -> None:
    long: list[Message] = [{"role": "user", "content": "word " * 200}]
    strict = ChatEncoder(tiny_tokenizer, len(tiny_tokenizer), 50)
    with pytest.raises(TooLong, match=r"more than 50.*truncate"):
        strict.encode(long)
    full = ChatEncoder(tiny_tokenizer, len(tiny_tokenizer), 8192).encode(long)
    cut = ChatEncoder(tiny_tokenizer, len(tiny_tokenizer), 50, truncate="left").encode(long)
    assert cut.truncated
    assert not full.truncated
    assert cut.input_ids.tolist() == [*full.input_ids[:1], *full.input_ids[-49:]]
    assert (cut.n_bos, cut.n_tokens) == (1, 50)


@pytest.mark.parametrize(
    ("conversation", "complaint"),
    [
        ([], "empty"),
        ("", "empty"),
        ("<|begin_of_text|>", "empty"),
        (np.zeros(0, np.int32), "empty"),
        ([{"role": "user"}], "message 0 must be an object with role and content"),
        ([{"role": None, "content": "x"}], "message 0: role must be a string, not null"),
        ([{"role": " ", "content": "x"}], "role is empty"),
        ([{"role": "user", "content": None}], "message 0: content must be a string, not null"),
        ([{"role": "user", "content": []}], "message 0: content is an empty list"),
        ([{"role": "user", "content": [{"text": "x"}]}], "message 0: part 0 of content must be"),
        ([{"role": "user", "content": ["x"]}], 'must be {"type": "text", "text": ...}, not str'),
        (
            [{"role": "user", "content": [TEXT_PART, {"type": "image_url", "image_url": {}}]}],
            'part 1 of content must be {"type": "text", "text": ...}, not of type \'image_url\'',
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": 5}]}],
            "message 0: part 0 of content: text must be a string, not int",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "text must be a string, not null"),
        ([{"role": "user", "content": [{"type": ["text"], "text": "x"}]}], "part 0 of content"),
        ([{"role": "user", "content": "a\ud800"}], "lone surrogate at character 1"),
        ("a\udfff", "lone surrogate"),
        (["hello"], "message 0 must be an object"),
        ({"messages": []}, "a conversation is a list of messages"),
        (([{"role": "user", "content": "x"}], 5), "the response must be a string"),
        ([0, 10**6], "token id 1000000 at position 1 is outside the vocabulary"),
        ([-1], "token id -1 at position 0"),
        ([0.5], "flat list of integers"),
        ([[1], [2]], "must be an object"),
        (np.zeros((2, 2), np.int32), "2-d"),
        ([2**80], "flat list of integers"),
        (None, "not null"),
        (17, "not int"),
    ],
    ids=repr,
)
def test_a_bad_conversation_is_named_and_harms_no_other(
    tiny: ChatEncoder, conversation: Any, complaint: str
) -> None:
    good = CARD_CHAT
    results = tiny.encode_all([good, conversation, good])
    assert isinstance(results[0], Encoding)
    assert isinstance(results[2], Encoding)
    error = results[1]
    assert isinstance(error, InvalidInput)
    assert error.item == 1
    assert complaint in error.message
    with pytest.raises(RewardError) as raised:
        tiny.encode(conversation)
    assert raised.value.message == error.message


def test_an_empty_turn_is_no_error(tiny: ChatEncoder) -> None:
    chat: list[Message] = [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}]
    assert tiny.encode(chat).n_tokens > 0


def test_conversations_made_when_they_are_asked_for_keep_their_prompts(tiny_tokenizer: Any) -> None:
    """Each lives for a moment, so that many have had the same address in memory."""

    class Lazy(Sequence[Any]):
        def __len__(self) -> int:
            return 100

        def __getitem__(self, i: Any) -> Any:
            if i >= len(self):
                raise IndexError
            return ({"role": "user", "content": f"question {i}"},), "answer"

    encoder = ChatEncoder(tiny_tokenizer, len(tiny_tokenizer), 50)
    made, kept = encoder.encode_all(Lazy()), encoder.encode_all(list(Lazy()))
    for one, same in zip(made, kept, strict=True):
        assert isinstance(one, Encoding)
        assert isinstance(same, Encoding)
        assert one.input_ids.tolist() == same.input_ids.tolist()
