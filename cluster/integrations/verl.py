"""Reward functions for verl (`reward.custom_reward_function`).

    reward.custom_reward_function.path=pkg://cluster.integrations.verl
    reward.custom_reward_function.name=compute_score

verl tells a reward function the response and not the prompt: that is in `extra_info`, where the
data preparation puts it, as messages or text, under `prompt` or `question` (or the key that
`reward_kwargs` names as `prompt_key`). `reward_kwargs` may also have `url`, `app`, `key` and
`failed`, the reward of a response that cannot be scored; without it the error is raised. A
`reward_router_address` is taken for that of this service, unless a URL is given.

Source of the convention: `run_single` of verl/experimental/reward_loop/reward_manager/naive.py
(either awaits or runs in a thread), `verify` of verl/workers/reward_manager/batch.py and
`get_custom_reward_fn` of verl/trainer/ppo/reward.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from cluster.errors import InvalidInput
from cluster.integrations.chats import chat
from cluster.integrations.service import URL_VARIABLE, HookService, hook_service
from cluster.types import Conversation

PROMPT_KEYS = ("prompt", "question")


class ScoreDict(TypedDict):
    """verl logs every key; all samples must have the same."""

    score: float


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    prompt_key: str | None = None,
    failed: float | Literal["raise"] = "raise",
    url: str | None = None,
    app: str | None = None,
    key: str | None = None,
) -> ScoreDict:
    """The reward of one response, awaited by verl's reward loop; samples that are scored at the
    same time share forwards and prompts, and their bits do not depend on each other."""
    service = _service(url, app, key, reward_router_address)
    chats = [_chat(solution_str, extra_info, prompt_key)]
    return _score_dicts(await service.rewards_async(chats, failed))[0]


def compute_score_batch(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any] | None = None,
    extra_infos: Sequence[Mapping[str, Any] | None] | None = None,
    *,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    prompt_key: str | None = None,
    failed: float | Literal["raise"] = "raise",
    url: str | None = None,
    app: str | None = None,
    key: str | None = None,
) -> list[ScoreDict]:
    """The rewards of all responses of a step, by one call (`reward_manager: batch`)."""
    service = _service(url, app, key, reward_router_address)
    infos = [None] * len(solution_strs) if extra_infos is None else extra_infos
    chats = [_chat(s, info, prompt_key) for s, info in zip(solution_strs, infos, strict=True)]
    return _score_dicts(service.rewards(chats, failed))


def _service(url: str | None, app: str | None, key: str | None, router: str | None) -> HookService:
    if url is None and app is None and router is not None and not os.environ.get(URL_VARIABLE):
        url = router if "://" in router else f"http://{router}"
    return hook_service(url, app, key)


def _chat(response: str, info: Mapping[str, Any] | None, prompt_key: str | None) -> Conversation:
    keys = PROMPT_KEYS if prompt_key is None else (prompt_key,)
    prompt = next((info[key] for key in keys if info and info.get(key) is not None), None)
    if prompt is None:
        raise InvalidInput(
            f"extra_info has no {' or '.join(map(repr, keys))}: verl gives a reward function no "
            "prompt; let the data preparation put it there, or name its key in reward_kwargs as "
            "prompt_key"
        )
    return chat(prompt if isinstance(prompt, str) else list(prompt), response)


def _score_dicts(rewards: Sequence[float | None]) -> list[ScoreDict]:
    return [{"score": reward} for reward in rewards if reward is not None]
