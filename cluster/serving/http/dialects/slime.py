"""slime: a post of one sample, whose answer is the reward itself.

`prompt` is text or messages, `response` the answer to it; `label` is not needed.
"""

from __future__ import annotations

from typing import Any

from cluster.errors import InvalidInput
from cluster.serving.http.dialects.endpoint import Body, Endpoint, Parsed, Rewarded, plain_error
from cluster.serving.http.dialects.fields import messages, required
from cluster.serving.http.json_body import kind


def _parse(body: Body) -> Parsed:
    prompt, response = required(body, "prompt"), body["response"]
    if not isinstance(response, str):
        raise InvalidInput(f"`response` must be a string, not {kind(response)}")
    if isinstance(prompt, str):
        return Parsed([(prompt, response)])
    chat: Any = messages(prompt, "prompt")
    return Parsed([(chat, response)])


def _render(parsed: Parsed, rewarded: Rewarded) -> Any:
    (reward,) = rewarded.rewards_N
    return reward


ENDPOINTS = (Endpoint(("/get_reward",), frozenset({"response"}), _parse, _render, plain_error),)
