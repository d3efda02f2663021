"""Prompt boundary: where a prompt ends in ids and text that begin with it."""

from __future__ import annotations

from dataclasses import replace

from cluster.engine.encoding.chat_template import TemplatedIds
from cluster.engine.packing import common_prefix
from cluster.errors import InvalidInput
from cluster.types import TokenIds


def with_split(found: TemplatedIds, begun: TokenIds | InvalidInput) -> TemplatedIds:
    """With the prompt's end, for openings without a marker; begun: the prompt's own ids."""
    if isinstance(begun, InvalidInput):
        return replace(found, prompt_len=0)
    shared = 0
    for part in found.parts:
        common = common_prefix(begun[shared:], part)
        shared += common
        if common < len(part):
            break
    # The prompt's last token may merge with what follows it.
    ends = len(begun) - 1 <= shared < sum(map(len, found.parts))
    return replace(found, prompt_len=shared if ends else 0)


def common_text(a: str, b: str) -> str:
    """The longest common beginning."""
    if b.startswith(a):
        return a
    return a[
        : next((i for i, pair in enumerate(zip(a, b, strict=False)) if len({*pair}) > 1), None)
    ]
