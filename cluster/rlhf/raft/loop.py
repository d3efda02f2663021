"""RAFT loop: sample, keep the best, fine-tune on it, repeat.

Invariant: a stage is a function of the policy before it, the configuration and the stage's number,
so a killed run goes on after its last whole stage and ends with the same policy. A response that
cannot be scored, or that did not end by itself, is no candidate; it never counts as a reward.

Source: Dong et al. 2023 (arXiv 2304.06767), algorithm 1, as in LMFlow's raft_aligner (`local`):
a stage draws prompts and n responses to each from the present policy, and fine-tunes on the one
of highest reward of each. Only the order of rewards matters. Left out: the paper's optional KL
term. LMFlow discards responses of fewer than 2 characters; "4" is a good answer, so here 1 is
enough. The optimizer starts anew in each stage. Knows nothing of reward models: the scorer is
passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from cluster.data.formats import Scorer
from cluster.data.groups import Response, ResponseGroup
from cluster.data.prompts import digest
from cluster.errors import ConfigError, RewardError
from cluster.rlhf.annotation.best_of_n import Candidates, Picked, TopK
from cluster.rlhf.policy.model import Policy, Sample, Sampling
from cluster.rlhf.policy.sft import SftConfig, fine_tune
from cluster.rlhf.raft.stages import RaftStage, Stages
from cluster.rlhf.runs.field_types import Count
from cluster.types import Chat, Message, Score

CANDIDATES = Candidates(min_chars=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """The loop; the sizes are for a policy as small as the generated one."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    stages: Count = 8
    prompts: Count = 96
    """Drawn for each stage, without repetition within it."""
    top_k: Count = 1
    """Responses of a prompt to fine-tune on."""
    random: bool = False
    """The control: draw them blindly instead."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=64))
    sft: SftConfig = field(default_factory=lambda: SftConfig(lr=3e-4, epochs=2))
    seed: int = 0


class Raft:
    """A run in `folder`: stage-000 judges the start, stage-00i has what stage i made.

    start: the policy to start from, a folder or a hub id.  evaluation: prompts never trained on,
    answered once after every stage, with the same seed.  made_from: what else the stages depend
    on, such as the reward model; stages made from something else are never continued.
    """

    def __init__(
        self,
        config: RaftConfig,
        folder: Path,
        start: str,
        prompts: Sequence[Chat],
        evaluation: Sequence[Chat],
        score: Scorer,
        made_from: Mapping[str, Any],
        device: str = "cpu",
    ) -> None:
        if len(prompts) < config.prompts:
            raise ConfigError(f"{len(prompts)} prompts are fewer than a stage's {config.prompts}")
        if not evaluation:
            raise ConfigError("there is no prompt to evaluate on")
        self.config = config
        self._start = start
        self._prompts = prompts
        self._evaluation = evaluation
        self._score = score
        self._device = device
        settings = asdict(config)
        del settings["stages"]  # more of them are welcome
        data = [digest(prompts), digest(evaluation)]
        self._stages = Stages(folder, {**settings, **made_from, "data": data})

    def run(self, on_stage: Callable[[RaftStage], object] = lambda _: None) -> list[RaftStage]:
        """Make every stage that is not there yet; all of them, `on_stage` hearing of each."""
        policy: Policy | None = None
        done: list[RaftStage] = []
        for number in range(self.config.stages + 1):
            stage = self._stages.read(number)
            if stage is None:
                policy = policy or self._policy_before(number)
                stage = self._stage(policy, number) if number else self._first(policy)
            done.append(stage)
            on_stage(stage)
        return done

    def policy_after(self, number: int) -> Policy:
        """The policy that stage `number`, which must be there, ended with."""
        where = str(self._stages.path(number)) if number else self._start
        return Policy.load(where, self._device)

    def _policy_before(self, number: int) -> Policy:
        return self.policy_after(max(0, number - 1))

    def _first(self, policy: Policy) -> RaftStage:
        stage = self._judged(policy, RaftStage(0, 0.0, 0))
        self._stages.write(stage, None, ())
        return stage

    def _stage(self, policy: Policy, number: int) -> RaftStage:
        """Sample, select, fine-tune `policy`, judge it."""
        config = self.config
        chosen = Random(f"{config.seed} {number}").sample(list(self._prompts), config.prompts)
        samples = policy.sample(chosen, config.sampling, _seed(config.seed, number))
        groups, n_failed = self._groups(chosen, samples)
        candidates = [group for group in map(CANDIDATES.of, groups) if group.responses]
        seed = config.seed + number
        picked = list(TopK(config.top_k, seed if config.random else None).pick(candidates))
        if not picked:
            raise ConfigError(
                f"stage {number}: of {sum(map(len, samples))} responses none ended by itself and "
                "could be scored; raise max_new_tokens, or start from a better policy"
            )
        losses = fine_tune(policy, list(map(_example, picked)), config.sft, seed)
        stage = RaftStage(
            number,
            0.0,
            0,
            first=_mean([group.responses[0].reward for group in candidates]),
            mean=_mean([r.reward for group in candidates for r in group.responses]),
            kept=_mean([one.response.reward for one in picked]),
            loss=_mean(losses),
            n_kept=len(picked),
            n_unfinished=sum(not s.finished for drawn in samples for s in drawn),
            n_failed=n_failed,
        )
        stage = self._judged(policy, stage)
        self._stages.write(stage, policy, map(_row, groups))
        return stage

    def _judged(self, policy: Policy, stage: RaftStage) -> RaftStage:
        """`stage` with the mean reward of the policy's answers, cut off or not."""
        sampling = replace(self.config.sampling, n=1)
        samples = policy.sample(self._evaluation, sampling, _seed(self.config.seed, 0))
        pairs = [(p, drawn[0].text) for p, drawn in zip(self._evaluation, samples, strict=True)]
        rewards = [r.reward for r in self._scores(pairs) if isinstance(r, Score)]
        if not rewards:
            raise ConfigError("no answer to an evaluation prompt could be scored")
        return replace(stage, evaluation=_mean(rewards), n_evaluated=len(rewards))

    def _groups(
        self, prompts: Sequence[Chat], samples: Sequence[Sequence[Sample]]
    ) -> tuple[list[ResponseGroup], int]:
        """The finished and scored responses as groups, and how many could not be scored."""
        asked = [
            (i, j, (prompt, sample.text))
            for i, (prompt, drawn) in enumerate(zip(prompts, samples, strict=True))
            for j, sample in enumerate(drawn)
            if sample.finished
        ]
        results = self._scores([pair for _, _, pair in asked])
        found: list[list[Response]] = [[] for _ in prompts]
        for (i, j, (_, text)), result in zip(asked, results, strict=True):
            if isinstance(result, Score):
                reply = Message(role="assistant", content=text)
                found[i].append(Response(j, (reply,), result.reward))
        groups = [
            ResponseGroup(i, tuple(prompt), tuple(responses))
            for i, (prompt, responses) in enumerate(zip(prompts, found, strict=True), 1)
        ]
        return groups, sum(isinstance(result, RewardError) for result in results)

    def _scores(self, pairs: Sequence[tuple[Chat, str]]) -> Sequence[Score | RewardError]:
        """One result a pair. Raises an error that may pass: it is no property of the response."""
        results = self._score(list(pairs)) if pairs else []
        for result in results:
            if isinstance(result, RewardError) and result.retryable:
                raise result
        return results


def _seed(seed: int, stage: int) -> int:
    return Random(f"{seed} {stage} sampling").getrandbits(63)


def _example(picked: Picked) -> tuple[Chat, str]:
    return picked.group.prompt, picked.response.messages[0]["content"]


def _row(group: ResponseGroup) -> dict[str, Any]:
    """As `annotate` writes it."""
    return {
        "prompt": list(group.prompt),
        "responses": [r.messages[0]["content"] for r in group.responses],
        "rewards": [r.reward for r in group.responses],
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
