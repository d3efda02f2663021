"""Policy setup: the policy that a recipe starts from and the prompts it answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cluster.data.groups import Reject
from cluster.data.jsonl import whole_folder
from cluster.data.prompts import Prompt, read_prompts
from cluster.data.rejects import Rejects
from cluster.errors import RewardError, TooLong
from cluster.rlhf.policy import generated
from cluster.rlhf.policy.model import Policy
from cluster.types import Chat

GENERATED = "generated"
N_GENERATED = 1000
"""Prompts to draw from where they are generated."""


def starting_policy(policy: str, folder: Path, seed: int) -> str:
    """The policy to load: `policy` itself, or if that is `generated`, folder/start, made once."""
    if policy != GENERATED:
        return policy
    path = folder / "start"
    if not path.exists():
        made = generated.make_policy(seed)
        with whole_folder(path) as temp:
            made.save(temp)
    return str(path)


def training_prompts(
    source: str, policy: Policy, max_new_tokens: int, seed: int, rejects: Rejects
) -> list[Chat]:
    """Of the file `source`, or generated; those that the policy cannot continue are rejects."""
    if source == GENERATED:
        return generated.prompts("train", N_GENERATED, seed)
    usable = _usable(source, policy, max_new_tokens)
    return [prompt.messages for prompt in rejects.keep_valid(usable)]


def _usable(source: str, policy: Policy, max_new_tokens: int) -> Iterator[Prompt | Reject]:
    for one in read_prompts(source):
        error = one.error if isinstance(one, Reject) else _unfit(one, policy, max_new_tokens)
        if error is None:
            yield one
        else:
            yield Reject(one.number, one.row, type(error)(f"{Path(source).name}: {error.message}"))


def _unfit(prompt: Prompt, policy: Policy, max_new_tokens: int) -> RewardError | None:
    """Why the policy cannot answer `prompt`, None if it can."""
    try:
        n_tokens = len(policy.prompt_ids(prompt.messages)) + max_new_tokens
    except RewardError as error:
        return error
    if n_tokens > policy.max_tokens:
        return TooLong(f"{n_tokens} tokens with the answer are more than {policy.max_tokens}")
    return None
