"""Prefix affinity: which replica probably holds which prompt's keys and values.

A replica keeps the prompts it has computed (`cluster.engine.prefix_cache`), so the next response to
one of them is cheapest there. That is a preference and never a wait: among replicas that are loaded
alike the one with the prompt is chosen, and a batch that is cut for a replica is filled from its
own prompts first, within the share that need not go by the line. A belief that is wrong, because
the replica has evicted the prompt or was replaced, costs what no belief would.

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
    """Of what lies before the encoding's split; None where it has none. Of this process only."""
    split = encoding.prompt_len % encoding.n_tokens
    return hash(encoding.input_ids[:split].tobytes()) if split else None


class PrefixAffinity:
    """The last prompts of the last replicas. on: False where replicas keep no prompts."""

    def __init__(self, on: bool = True) -> None:
        self._on = on
        self._held: OrderedDict[str, OrderedDict[Prompt, None]] = OrderedDict()

    def sent(self, replica_id: str, encodings: Iterable[Encoding]) -> None:
        """`encodings` go to that replica, which then has their prompts."""
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
