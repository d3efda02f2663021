"""The tokenizer of `tiny`: any text survives, digits stand alone, Llama-3's template exactly."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cluster.engine.checkpoint import locate
from cluster.rlhf.synthetic.preferences import groups, of_each
from cluster.tiny.tokenizer import train_tokenizer

TOKENIZER: Any = AutoTokenizer.from_pretrained(locate("tiny"))

ODD = [
    "",
    " leading and trailing ",
    "你好 🙂 \u200d👩‍👩‍👧‍👦",
    "tabs\tand\r\nlines\n\n\n",
    "e\u0301 combining, \u202eright to left\u202c",
    "\x00\x01\x7f",
    "٣٤٥ ½ ²",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
]


def ids(text: str) -> list[int]:
    found: list[int] = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ]
    return found


@pytest.mark.parametrize("text", ODD)
def test_odd_text_decodes_to_itself(text: str) -> None:
    assert TOKENIZER.decode(ids(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_decodes_to_itself(text: str) -> None:
    assert TOKENIZER.decode(ids(text)) == text


def test_every_digit_is_a_token_of_its_own() -> None:
    assert [TOKENIZER.decode([token]) for token in ids("12+345")] == list("12+345")


def test_the_template_is_llama_3s() -> None:
    messages = [
        {"role": "system", "content": "  Be terse. "},
        {"role": "user", "content": "Hi\n"},
        {"role": "assistant", "content": "Hello!"},
    ]
    assert TOKENIZER.apply_chat_template(messages, tokenize=False) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe terse.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
    )
    prompt = TOKENIZER.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")


def test_the_post_processor_puts_one_bos_in_front() -> None:
    assert TOKENIZER("x")["input_ids"] == [TOKENIZER.bos_token_id, *ids("x")]


def test_special_tokens_have_the_roles_a_reward_model_needs() -> None:
    assert TOKENIZER.eos_token == "<|eot_id|>"
    assert TOKENIZER.pad_token == "[PAD]"
    assert TOKENIZER.pad_token_id != TOKENIZER.eos_token_id
    assert TOKENIZER.model_max_length == 8192


def test_the_same_texts_give_the_same_tokenizer() -> None:
    texts = [response for group in groups("train", of_each(20), 0) for response in group.responses]
    first, second = (
        train_tokenizer(texts, vocab_size=400, model_max_length=64).backend_tokenizer.to_str()
        for _ in range(2)
    )
    assert first == second
