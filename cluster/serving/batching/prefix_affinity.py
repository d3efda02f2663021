"""Prefix affinity: which replica probably holds which prompt's keys and values.

A replica keeps the prompts it has computed (`cluster.engine.prefix_cache`), so the next response to
one of them is cheapest there. This is a preference and never causes a wait: among equally loaded
replicas the one with the prompt is chosen, and a batch for a replica is filled from that replica's
prompts first, within the share of a batch that may go out of turn. A wrong guess, because the
replica has evicted the prompt or was replaced, costs no more than no guess.

A pure object. It knows prompts by a hash, and nothing of Ray.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from cluster.types import Encoding

Prompt = int
PROMPTS_PER_REPLICA = 1024
REPLICAS = 256


def prompt_id(encoding: Encoding) -> Prompt | None:
    """Hash of the prompt before the encoding's split, valid in this process only; None if there is
    no split."""
    split = encoding.prompt_len % encoding.n_tokens
    return hash(encoding.input_ids[:split].tobytes()) if split else None


class PrefixAffinity:
    """The most recent prompts of each recent replica. on: False if replicas keep no prompts."""

    def __init__(self, on: bool = True) -> None:
        self._on = on
        self._held: OrderedDict[str, OrderedDict[Prompt, None]] = OrderedDict()

    def sent(self, replica_id: str, encodings: Iterable[Encoding]) -> None:
        """Record that `encodings` go to that replica, which then has their prompts."""
        if not self._on:
            return
        held = self._held.setdefault(replica_id, OrderedDict())
        self._held.move_to_end(replica_id)
        for encoding in encodings:
            prompt = prompt_id(encoding)
            if prompt is not None:
                held[prompt] = None
                held.move_to_end(prompt)
        while len(held) > PROMPTS_PER_REPLICA:
            held.popitem(last=False)
        while len(self._held) > REPLICAS:
            self._held.popitem(last=False)

    def held_by(self, replica_id: str) -> Collection[Prompt]:
        """The prompts that it has, the oldest first."""
        return self._held.get(replica_id, ())

    def of(self, encoding: Encoding) -> Collection[str]:
        """The replicas that have its prompt."""
        prompt = prompt_id(encoding) if self._held else None
        return {replica_id for replica_id, held in self._held.items() if prompt in held}
