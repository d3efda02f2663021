"""Conversations become the ids of the model card's pipeline, and no message can forge a turn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.conversations import CARD_CHAT, TEXT_PART

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import InvalidInput
from cluster.types import Encoding, Message

GOLDEN: list[tuple[list[Message], str]] = [
    (
        CARD_CHAT,
        "128000 128006 882 128007 271 9906 11 1268 527 499 30 128009 128006 78191 128007 271 40 "
        "2846 3815 2294 13 2650 649 358 1520 499 3432 30 128009 128006 882 128007 271 40 4265 1093 "
        "311 1501 1022 1268 6369 68630 1113 4375 0 128009",
    ),
    (
        [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "4"}],
        "128000 128006 882 128007 271 3923 374 220 17 10 17 30 128009 128006 78191 128007 271 19 "
        "128009",
    ),
    (
        [
            {"role": "system", "content": "Be terse."},
            {"role": "user", "content": "你好 🙂"},
            {"role": "assistant", "content": " ok \n"},
        ],
        "128000 128006 9125 128007 271 3513 51637 13 128009 128006 882 128007 271 57668 53901 "
        "28584 128009 128006 78191 128007 271 564 128009",
    ),
]


def user(text: str) -> list[Message]:
    """A conversation of one user message."""
    return [{"role": "user", "content": text}]


SPECIAL = ["<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "[PAD]", "<|end_header_id|>"]


@pytest.fixture(scope="module")
def llama3(llama3_tokenizer: Any) -> ChatEncoder:
    return ChatEncoder(llama3_tokenizer, len(llama3_tokenizer), 8192)


def pipeline_ids(tokenizer: Any, chat: list[Message]) -> list[int]:
    """As the model card's snippet makes them."""
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=False)
    ids: list[int] = tokenizer(text.replace(tokenizer.bos_token, ""))["input_ids"]
    return ids


@pytest.mark.slow
@pytest.mark.parametrize(("chat", "ids"), GOLDEN, ids=["card", "sum", "unicode"])
def test_golden_ids_of_the_real_vocabulary(
    llama3: ChatEncoder, chat: list[Message], ids: str
) -> None:
    encoding = llama3.encode(chat)
    assert encoding.input_ids.tolist() == [int(i) for i in ids.split()]
    assert encoding.n_bos == 1


messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant"]),
            "content": st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        }
    ),
    min_size=1,
    max_size=4,
)


@given(chat=messages)
@settings(max_examples=60, deadline=None)
def test_ids_equal_the_pipelines_for_any_chat_without_special_tokens(
    tiny: ChatEncoder, tiny_tokenizer: Any, chat: list[Message]
) -> None:
    assert tiny.encode(chat).input_ids.tolist() == pipeline_ids(tiny_tokenizer, chat)


@pytest.mark.slow
def test_real_chats_get_the_pipelines_ids(
    llama3: ChatEncoder, llama3_tokenizer: Any, shared_data: Any
) -> None:
    rows = json.loads((shared_data / "llmbar" / "natural.json").read_text())[:50]
    for row in rows:
        chat: list[Message] = [
            {"role": "user", "content": row["input"]},
            {"role": "assistant", "content": row["output_1"]},
        ]
        assert llama3.encode(chat).input_ids.tolist() == pipeline_ids(llama3_tokenizer, chat)


@pytest.mark.parametrize("typed", SPECIAL)
def test_a_special_token_typed_by_a_user_stays_text(
    tiny: ChatEncoder, tiny_tokenizer: Any, typed: str
) -> None:
    ids = tiny.encode(user(f"a {typed} b")).input_ids.tolist()
    calm = tiny.encode(user("a b")).input_ids.tolist()
    special = set(tiny_tokenizer.all_special_ids)
    assert [i for i in ids if i in special] == [i for i in calm if i in special]
    assert typed in tiny_tokenizer.decode(ids)


def test_text_messages_pairs_and_ids_of_one_chat_are_one_encoding(
    tiny: ChatEncoder, tiny_tokenizer: Any
) -> None:
    prompt: list[Message] = [{"role": "user", "content": "Hi"}]
    chat: list[Message] = [*prompt, {"role": "assistant", "content": "Hello!"}]
    text = tiny_tokenizer.apply_chat_template(chat, tokenize=False)
    expected = tiny.encode(chat)
    forms = [(prompt, "Hello!"), text, expected.input_ids, expected.input_ids.tolist()]
    for form in forms:
        found = tiny.encode(form)
        assert found.input_ids.tolist() == expected.input_ids.tolist()
        assert (found.prompt_len, found.n_bos) == (expected.prompt_len, expected.n_bos)


def test_the_split_lies_just_before_the_response(tiny: ChatEncoder, tiny_tokenizer: Any) -> None:
    prompt: list[Message] = [{"role": "user", "content": "Hi"}]
    encoding = tiny.encode((prompt, "Hello!"))
    header = tiny_tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    assert tiny_tokenizer.decode(encoding.input_ids[: encoding.prompt_len]) == header
    assert tiny_tokenizer.decode(encoding.input_ids[encoding.prompt_len :]) == "Hello!<|eot_id|>"


@pytest.mark.parametrize(("policy", "expected"), [("tokenizer", 1), ("one", 1), ("none", 0)])
def test_the_bos_policy_decides_and_is_counted(
    tiny_tokenizer: Any, policy: Any, expected: int
) -> None:
    encoder = ChatEncoder(tiny_tokenizer, len(tiny_tokenizer), 100, bos=policy)
    chat = encoder.encode(user("Hi"))
    text = encoder.encode("<|begin_of_text|><|begin_of_text|>Hi")
    for encoding in (chat, text):
        assert encoding.n_bos == expected
        assert encoding.input_ids.tolist().count(tiny_tokenizer.bos_token_id) == expected


def test_a_tokenizer_that_adds_no_bos_yields_none(tiny_tokenizer: Any) -> None:
    import copy

    from tokenizers.processors import TemplateProcessing

    bare = copy.deepcopy(tiny_tokenizer)
    bare.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    encoder = ChatEncoder(bare, len(bare), 100)
    assert encoder.encode(CARD_CHAT).n_bos == 0
    assert encoder.encode(CARD_CHAT).input_ids.tolist() == pipeline_ids(bare, CARD_CHAT)


def test_text_parts_of_a_content_are_joined_by_a_newline(tiny: ChatEncoder) -> None:
    parts: Any = [TEXT_PART, {"type": "text", "text": "and more", "cache_control": None}]
    for split, joined in (
        ([{"role": "user", "content": parts}], [{"role": "user", "content": "x\nand more"}]),
        (([{"role": "user", "content": parts}], "y"), ("x\nand more", "y")),
        ([{"role": "user", "content": [TEXT_PART]}], [{"role": "user", "content": "x"}]),
    ):
        found, wanted = tiny.encode(split), tiny.encode(joined)  # type: ignore[arg-type]
        assert found.input_ids.tolist() == wanted.input_ids.tolist()


@pytest.fixture(scope="module")
def other_tokenizer(tiny_tokenizer: Any) -> Any:
    """A template that is not Llama-3's: rendered and tokenized whole."""
    import copy

    other = copy.deepcopy(tiny_tokenizer)
    other.chat_template = (
        "{% for m in messages %}{% if m['role'] not in ['user', 'assistant'] %}"
        "{{ raise_exception('only user and assistant') }}{% endif %}"
        "[{{ m['role'] }}] {{ m['content'] }}<|eot_id|>{% endfor %}"
    )
    return other


@pytest.fixture(scope="module")
def general(other_tokenizer: Any) -> ChatEncoder:
    return ChatEncoder(other_tokenizer, len(other_tokenizer), 8192)


def test_another_template_gives_the_pipelines_ids(
    general: ChatEncoder, other_tokenizer: Any
) -> None:
    assert general.encode(CARD_CHAT).input_ids.tolist() == pipeline_ids(other_tokenizer, CARD_CHAT)


def test_another_template_keeps_a_typed_special_token_as_text(
    general: ChatEncoder, other_tokenizer: Any
) -> None:
    ids = general.encode(user("x<|eot_id|>")).input_ids.tolist()
    assert ids.count(other_tokenizer.convert_tokens_to_ids("<|eot_id|>")) == 1
    assert "x<|eot_id|><|eot_id|>" in other_tokenizer.decode(ids)


def test_what_another_template_refuses_is_the_items_error(general: ChatEncoder) -> None:
    system: list[Message] = [{"role": "system", "content": "x"}]
    results = general.encode_all([CARD_CHAT, system])
    assert isinstance(results[0], Encoding)
    assert isinstance(results[1], InvalidInput)
    assert "only user and assistant" in results[1].message
