"""Requests of the wire dialects: 64 templated texts of 500 tokens, as each client posts them."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.http.dialects.triton.tensors import HEADER_LENGTH

N_ITEMS, N_TOKENS = 64, 500
WORDS = (
    *("the", "answer", "is", "that", "one", "more", "number", "in", "every", "good", "story", "of"),
    *("people", "who", "had", "been", "there", "before", "and", "would", "say", "what", "they"),
    *("know", "about", "water,", "light,", "trees", "other", "small", "things", "at", "night."),
)


@dataclass(frozen=True, slots=True)
class Content:
    """Body and headers of a request."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DialectRequest:
    """A client's request.  content: makes it from the texts.  n_items: texts per request."""

    name: str
    path: str
    content: Callable[[Sequence[str]], Content]
    n_items: int = N_ITEMS


def templated_texts(encoder: ChatEncoder, n: int, rng: np.random.Generator) -> list[str]:
    """`n` different texts in the Llama-3 template, each of about `N_TOKENS` tokens."""
    probe = _templated(rng.choice(WORDS, N_TOKENS))
    n_words = N_TOKENS * N_TOKENS // encoder.encode(probe).n_tokens
    return [_templated(rng.choice(WORDS, n_words)) for _ in range(n)]


def _templated(words: np.ndarray[Any, Any]) -> str:
    middle = len(words) // 2
    turns = (("user", words[:middle]), ("assistant", words[middle:]))
    return "<|begin_of_text|>" + "".join(
        f"<|start_header_id|>{role}<|end_header_id|>\n\n{' '.join(said)}<|eot_id|>"
        for role, said in turns
    )


def _json(make: Callable[[Sequence[str]], Any]) -> Callable[[Sequence[str]], Content]:
    return lambda texts: Content(json.dumps(make(texts)).encode())


def _openrlhf(texts: Sequence[str]) -> Any:
    prompts = [text[: len(text) // 2] for text in texts]
    return {"query": list(texts), "prompts": prompts, "labels": [None] * len(texts)}


def _plain(text: str) -> str:
    """The text without the template's special tokens."""
    return re.sub(r"<\|\w+\|>", "", text)


def _ids(text: str) -> list[int]:
    """`N_TOKENS` ids that every vocabulary has; they need not be the text's own."""
    return [ord(char) % 64 for char in text[:N_TOKENS]]


def _binary_sentences(texts: Sequence[str]) -> Content:
    """A binary tensor of strings, as PyTriton's client sends it."""
    data = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
    tensor = {
        "name": "sentences",
        "shape": [len(texts), 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(data)},
    }
    output = {"name": "rewards", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    return Content(head + data, {HEADER_LENGTH: str(len(head))})


REQUESTS = (
    DialectRequest("OpenRLHF", "/get_reward", _json(_openrlhf)),
    DialectRequest("OpenRLHF, one sample", "/get_reward", _json(_openrlhf), 1),
    DialectRequest(
        "slime, one sample",
        "/get_reward",
        _json(lambda texts: {"prompt": "Go on.", "response": _plain(texts[0]), "label": None}),
        1,
    ),
    DialectRequest("LLaMA-Factory", "/get_reward", _json(lambda texts: {"messages": texts})),
    DialectRequest("vLLM", "/classify", _json(lambda texts: {"model": "m", "input": texts})),
    DialectRequest(
        "vLLM, ids", "/classify", _json(lambda texts: {"input": [_ids(text) for text in texts]})
    ),
    DialectRequest("SGLang", "/classify", _json(lambda texts: {"text": texts})),
    DialectRequest("SGLang, embeddings", "/v1/embeddings", _json(lambda texts: {"input": texts})),
    DialectRequest(
        "text-embeddings-inference",
        "/predict",
        _json(lambda texts: {"inputs": [[text] for text in texts], "raw_scores": True}),
    ),
    DialectRequest("infinity", "/infinity/classify", _json(lambda texts: {"input": texts})),
    DialectRequest("Triton, binary", "/v2/models/reward_model/infer", _binary_sentences),
)
