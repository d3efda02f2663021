"""Template selection: the exact Llama-3 construction, or the general one."""

from __future__ import annotations

from typing import Any

import numpy as np

from cluster.engine.encoding.chat_template import (
    PROBES,
    Llama3Template,
    Template,
    TemplatedIds,
    render,
)
from cluster.engine.encoding.general_template import GeneralTemplate
from cluster.errors import InvalidInput


def choose_template(tokenizer: Any) -> Template:
    """The exact Llama-3 construction where it gives the template's ids, else the general way."""
    try:
        exact = Llama3Template(tokenizer)
        rendered = [render(tokenizer, chat) for chat in PROBES]
    except Exception:
        # Templates are programs of the checkpoint's author; they raise what they like.
        return GeneralTemplate(tokenizer)
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in rendered]
    built = [_joined(found) for found in exact.encode_all(PROBES)]
    return exact if built == expected else GeneralTemplate(tokenizer)


def _joined(found: TemplatedIds | InvalidInput) -> list[int]:
    return [] if isinstance(found, InvalidInput) else np.concatenate(found.parts).tolist()
