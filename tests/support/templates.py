"""Small tokenizers with the templates of the families that most reward models come from.

Vocabularies are trained here on a few sentences; what counts is how each family cuts text, which
of its markers are added tokens, and what its template does. Templates are shortened to what
scoring meets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

_TEXT = """The ferry left at nine, an hour late, and nobody on the pier could say why.
user assistant system model helpful You are a helpful assistant. INST SYS Today Date: think tool
What is 12*3? 36. Hi Hello! Yes, no. - a list\n\n```python\nx = 1\n```\n ça va? 你好
end start of turn
"""
_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _byte_level() -> Tokenizer:
    """As Llama-3's, Qwen's: words first, then bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=alphabet, min_frequency=1, show_progress=False
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    return tokenizer


def _sentencepiece(prefix: bool) -> Tokenizer:
    """As Llama-2's and Gemma's: spaces are `▁`, unknown characters bytes; no words.

    prefix: whether each run of text gets a `▁` in front, as in Llama-2.
    """
    spaces = normalizers.Replace(" ", "▁")
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = spaces
    learner.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)|\n"), behavior="isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>"], min_frequency=1, show_progress=False
    )
    learner.train_from_iterator([_TEXT], trainer)
    model = json.loads(learner.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    for byte in range(256):
        vocab.setdefault(f"<0x{byte:02X}>", len(vocab))
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    prepend = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, spaces])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _wrap(
    backend: Tokenizer,
    template: str,
    special: list[str],
    bos: str | None,
    eos: str,
    plain: tuple[str, ...] = (),
    adds_bos: bool = True,
    adds_eos: bool = False,
    rstrip: bool = False,
) -> Any:
    """special, plain: added tokens, flagged as special or not."""
    from transformers import PreTrainedTokenizerFast

    backend.add_special_tokens(
        [AddedToken(t, special=True, normalized=False, rstrip=rstrip) for t in special]
    )
    backend.add_tokens([AddedToken(t, special=False, normalized=False) for t in plain])
    around = [bos if adds_bos else None, "$A", eos if adds_eos else None]
    single = " ".join(part for part in around if part)
    backend.post_processor = processors.TemplateProcessing(
        single=single,
        special_tokens=[(t, backend.token_to_id(t)) for t in (bos, eos) if t and t in single],
    )
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        pad_token="[PAD]",
        clean_up_tokenization_spaces=False,
        chat_template=template,
    )


LLAMA31 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{% set system = messages[0].content | trim %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n' + system + '<|eot_id|>' }}"
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' "
    "+ m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN2 = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}{% set content = m.content %}"
    "{% if m.role == 'assistant' %}{% set thought = '' %}{% if '</think>' in content %}"
    "{% set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.last %}"
    "{{ '<|im_start|>assistant\n<think>\n' + thought + '\n</think>\n\n' + content }}"
    "{% else %}{{ '<|im_start|>assistant\n' + content }}{% endif %}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + content }}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
LLAMA2 = (
    "{% if messages[0].role == 'system' %}"
    "{% set system = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{% for m in messages %}{% set content = (system if loop.first else '') + m.content %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
R1 = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'assistant' %}{{ '<｜Assistant｜>' + m.content + eos_token }}"
    "{% elif m.role == 'user' %}{{ '<｜User｜>' + m.content }}{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)

_LLAMA3 = ["<|begin_of_text|>", "<|eot_id|>", "[PAD]"]
_LLAMA3_PLAIN = ("<|start_header_id|>", "<|end_header_id|>")
_IM = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[PAD]"]
_SP = ["<unk>", "<s>", "</s>", "[PAD]"]


def _llama31() -> Any:
    """With header markers that are added tokens, but not flagged as special."""
    return _wrap(_byte_level(), LLAMA31, _LLAMA3, "<|begin_of_text|>", "<|eot_id|>", _LLAMA3_PLAIN)


def _qwen3() -> Any:
    return _wrap(_byte_level(), QWEN3, _IM, None, "<|im_end|>", ("<think>", "</think>"))


def _gemma() -> Any:
    special = ["<unk>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "[PAD]"]
    blank = ("\n\n", "▁▁", "<b>")
    return _wrap(_sentencepiece(prefix=False), GEMMA, special, "<bos>", "<eos>", blank)


def _mistral3() -> Any:
    """The later Mistral: `[INST]` is a control token."""
    special = [*_SP, "[INST]", "[/INST]"]
    return _wrap(_sentencepiece(prefix=True), MISTRAL, special, "<s>", "</s>")


def _phi3() -> Any:
    """Its markers swallow the white space behind them."""
    special = [*_SP, "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    return _wrap(_sentencepiece(prefix=True), PHI3, special, "<s>", "</s>", rstrip=True)


def _r1() -> Any:
    special = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "[PAD]"]
    plain = ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")
    return _wrap(_byte_level(), R1, special, special[0], special[1], plain)


FAMILIES: dict[str, Callable[[], Any]] = {
    "llama-3.1": _llama31,
    "qwen2": lambda: _wrap(_byte_level(), QWEN2, _IM, None, "<|im_end|>"),
    "qwen3": _qwen3,
    "gemma": _gemma,
    "mistral": lambda: _wrap(_sentencepiece(prefix=True), MISTRAL, _SP, "<s>", "</s>"),
    "mistral-v3": _mistral3,
    "llama-2": lambda: _wrap(_sentencepiece(prefix=True), LLAMA2, _SP, "<s>", "</s>"),
    "zephyr": lambda: _wrap(_sentencepiece(prefix=True), ZEPHYR, _SP, "<s>", "</s>"),
    "zephyr, bytes": lambda: _wrap(_byte_level(), ZEPHYR, _SP, "<s>", "</s>"),
    "phi-3": _phi3,
    "deepseek-r1": _r1,
    "adds eos": lambda: _wrap(_byte_level(), QWEN2, _IM, None, "<|endoftext|>", adds_eos=True),
}


@cache
def family_tokenizer(name: str) -> Any:
    """One of FAMILIES, made once a process; not to be changed."""
    return FAMILIES[name]()


def pipeline_ids(tokenizer: Any, chat: list[Any]) -> list[int]:
    """As the model card's snippet makes them. Raises what the template raises."""
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=False)
    bos = tokenizer.bos_token
    ids: list[int] = tokenizer(text.replace(bos, "") if bos else text)["input_ids"]
    return ids
