"""Best-of-n selection: which responses become chats for supervised fine-tuning.

Invariant: what is selected is the row's own response with the row's own reward, and of equal
rewards the first wins (earlier row, then earlier response). A random control draws from the same
candidates, as many, by the same rule, with random numbers in place of the rewards.

Sources: best of n per prompt is RAFT (Dong et al. 2023, arXiv 2304.06767; `local` in LMFlow's
raft_aligner); a share of all responses is LMFlow's `top`, which keeps int(n * share); the chat is
what RLHFlow/RAFT's get_bon_data.py means: the response as an assistant turn after its prompt. Knows
nothing of files and models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Protocol

from cluster.data.groups import Response, ResponseGroup
from cluster.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Picked:
    """A response that was selected, with the group it stands in."""

    group: ResponseGroup
    response: Response


class Selector(Protocol):
    """A rule that picks responses from groups, in the groups' order."""

    def pick(self, groups: Iterable[ResponseGroup]) -> Iterator[Picked]: ...


@dataclass(frozen=True, slots=True)
class TopK:
    """The `k` best responses of every prompt, best first; 1 is best of n.

    A prompt with fewer than `k` responses gives all of them. random_seed: draw `k` at random
    instead; the draw of a row depends on the seed and its line alone.
    """

    k: int = 1
    random_seed: int | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k must be at least 1, not {self.k}")

    def pick(self, groups: Iterable[ResponseGroup]) -> Iterator[Picked]:
        for group in groups:
            keys = _keys(group, self.random_seed)
            order = sorted(range(len(keys)), key=lambda i: -keys[i])  # stable: the first wins
            yield from (Picked(group, group.responses[i]) for i in order[: self.k])


@dataclass(frozen=True, slots=True)
class TopFraction:
    """The best int(n * fraction) of all n responses, whatever their prompts.

    Holds every group until the last has been read. random_seed: as in `TopK`.
    """

    fraction: float
    random_seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"the fraction must be above 0 and at most 1, not {self.fraction}")

    def pick(self, groups: Iterable[ResponseGroup]) -> Iterator[Picked]:
        ranked = [
            (-key, Picked(group, response))
            for group in groups
            for key, response in zip(_keys(group, self.random_seed), group.responses, strict=True)
        ]
        n_kept = int(len(ranked) * self.fraction + 1e-9)  # 0.29 of 100 is 29, not 28
        order = sorted(range(len(ranked)), key=lambda i: ranked[i][0])
        yield from (ranked[i][1] for i in sorted(order[:n_kept]))


@dataclass(frozen=True, slots=True)
class Threshold:
    """Every response with a reward of at least `least`, in the row's order."""

    least: float

    def pick(self, groups: Iterable[ResponseGroup]) -> Iterator[Picked]:
        for group in groups:
            yield from (Picked(group, r) for r in group.responses if r.reward >= self.least)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which responses may be selected at all; by default all of them.

    first_n: only the row's first n, for best-of-n curves from one file of many responses.
    min_chars, forbidden: LMFlow discards a response of fewer than 2 characters or with "#".
    """

    first_n: int | None = None
    min_chars: int = 0
    forbidden: tuple[str, ...] = ()

    def of(self, group: ResponseGroup) -> ResponseGroup:
        """`group` with its candidates only, perhaps none."""
        kept = (r for r in group.responses[: self.first_n] if self._allows(r))
        return replace(group, responses=tuple(kept))

    def _allows(self, response: Response) -> bool:
        contents = [message["content"] for message in response.messages]
        return response.n_chars >= self.min_chars and not any(
            text in content for text in self.forbidden for content in contents
        )


def sft_chat(picked: Picked) -> dict[str, Any]:
    """The row to fine-tune on.

    messages: the prompt's, then the response's.
    loss_mask: one number per message: 1 where the loss is taken, on the message's content and the
        end-of-turn token after it; 0 (the prompt) where it is not.
    reward, line, index: the raw reward, and where the response stood in the input.
    """
    group, response = picked.group, picked.response
    return {
        "messages": [*group.prompt, *response.messages],
        "loss_mask": [0] * len(group.prompt) + [1] * len(response.messages),
        **_origin(picked),
    }


def sft_completion(picked: Picked) -> dict[str, Any]:
    """The same as `prompt` and `completion`, for which TRL's SFTTrainer masks the prompt itself."""
    return {
        "prompt": list(picked.group.prompt),
        "completion": list(picked.response.messages),
        **_origin(picked),
    }


def _origin(picked: Picked) -> dict[str, Any]:
    response = picked.response
    return {"reward": response.reward, "line": picked.group.number, "index": response.index}


def _keys(group: ResponseGroup, random_seed: int | None) -> list[float]:
    """The keys that responses are ranked by: the rewards, or one random number each."""
    if random_seed is None:
        return [response.reward for response in group.responses]
    random = Random(f"{random_seed} {group.number}")
    return [random.random() for _ in group.responses]
