"""OpenRLHF: `POST /get_reward` with `query`, of one sample (0.9.1 on) or many.

Rewards are always lists and `extra_logs` has always the same keys, since OpenRLHF concatenates them
across samples. An empty `query`, which it sends to every URL but the first, is answered with 200.
The scheduler joins posts that share a prompt, so one post a sample costs no prompt twice.
"""

from __future__ import annotations

from typing import Any

from cluster.serving.http.dialects.endpoint import Body, Endpoint, Parsed, Rewarded, plain_error
from cluster.serving.http.dialects.fields import texts


def _parse(body: Body) -> Parsed:
    query = body["query"]
    if isinstance(query, str):
        return Parsed(texts([query], "query"), form="scalar")
    return Parsed(texts(query, "query"))


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    rewards: Any = list(rewarded.rewards_N)
    if parsed.form == "scalar":
        (rewards,) = rewards
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"rm_raw": rewards}}


ENDPOINTS = (Endpoint(("/get_reward",), frozenset({"query"}), _parse, _render, plain_error),)
