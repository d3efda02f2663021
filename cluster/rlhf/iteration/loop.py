"""Training loop of RAFT and iterative DPO: sample, score, train, evaluate, repeat.

Invariant: a stage is a function of the policy before it, the configuration and the stage's number,
so a killed run resumes after its last whole stage and ends with the same policy. A response that
cannot be scored, or that did not end by itself, is not a candidate and never counts as a reward.
The optimizer starts fresh in each stage. Knows nothing of reward models and training: the scorer
and the training step are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Protocol

from cluster.data.call_results import call_groups, raise_retryable
from cluster.data.formats import Scorer
from cluster.data.groups import Response, ResponseGroup
from cluster.data.prompts import digest
from cluster.data.transforms import record
from cluster.errors import ConfigError, RewardError
from cluster.rlhf.annotation.best_of_n import Candidates
from cluster.rlhf.iteration.config import LoopConfig
from cluster.rlhf.iteration.stages import Stage, Stages
from cluster.rlhf.policy.model import Policy, Sample
from cluster.types import Chat, Message, Score

CANDIDATES = Candidates(min_chars=1)
"""LMFlow discards responses of fewer than 2 characters; here 1 is enough, since "4" can be a good
answer."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a stage's training did. losses: of its steps. kept: responses trained on as good ones;
    rejected: as worse ones, None if a loop has no such responses."""

    losses: Sequence[float]
    kept: Sequence[Response]
    rejected: Sequence[Response] | None = None


class Learn(Protocol):
    """Train `policy` in place on scored candidates of a stage.

    start: loads the policy that the run began with.
    """

    def __call__(
        self,
        policy: Policy,
        start: Callable[[], Policy],
        groups: Sequence[ResponseGroup],
        stage: int,
    ) -> Lesson: ...


class Loop:
    """A run in `folder`: stage-000 judges the start, stage-00i has what stage i made.

    start: the policy to start from, a folder or a hub id.  evaluation: prompts never trained on,
    answered once after every stage, with the same seed. made_from: what else the stages depend on,
    such as the reward model; a run never continues stages made from something else.
    """

    def __init__(
        self,
        config: LoopConfig,
        learn: Learn,
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
        self._learn = learn
        self._start = start
        self._prompts = prompts
        self._evaluation = evaluation
        self._score = score
        self._device = device
        settings = asdict(config)
        del settings["stages"]  # may grow when a run is resumed
        data = [digest(prompts), digest(evaluation)]
        self._stages = Stages(folder, {**settings, **made_from, "data": data})

    def run(self, on_stage: Callable[[Stage], object] = lambda _: None) -> list[Stage]:
        """Run every stage that is missing; returns all stages and calls `on_stage` with each."""
        policy: Policy | None = None
        done: list[Stage] = []
        for number in range(self.config.stages + 1):
            stage = self._stages.read(number)
            if stage is None:
                policy = policy or self._policy_before(number)
                stage = self._stage(policy, number) if number else self._first(policy)
            done.append(stage)
            on_stage(stage)
        return done

    def policy_after(self, number: int) -> Policy:
        """The policy after stage `number`, which must be finished."""
        where = str(self._stages.path(number)) if number else self._start
        return Policy.load(where, self._device)

    def _policy_before(self, number: int) -> Policy:
        return self.policy_after(max(0, number - 1))

    def _first(self, policy: Policy) -> Stage:
        stage = self._judged(policy, Stage(0, 0.0, 0))
        self._stages.write(stage, None, ())
        return stage

    def _stage(self, policy: Policy, number: int) -> Stage:
        """Sample, score, train `policy`, evaluate it."""
        config = self.config
        chosen = Random(f"{config.seed} {number}").sample(list(self._prompts), config.prompts)
        samples = policy.sample(chosen, config.sampling, _seed(config.seed, number))
        raw, n_failed = self._groups(chosen, samples)
        candidates = [group for group in map(CANDIDATES.of, raw) if group.responses]
        shown = [self._transformed(group) for group in candidates]
        lesson = self._learn(policy, lambda: self.policy_after(0), shown, number)
        if not lesson.kept:
            raise ConfigError(
                f"stage {number}: of {sum(map(len, samples))} responses none that ended by itself "
                "and could be scored is worth learning from; raise max_new_tokens or sampling.n, "
                "or start from a better policy"
            )
        rewards = {id(r): raw for r, raw in _paired(shown, candidates)}
        stage = Stage(
            number,
            0.0,
            0,
            first=_mean([group.responses[0].reward for group in candidates]),
            mean=_mean([r.reward for group in candidates for r in group.responses]),
            kept=_mean([rewards[id(one)] for one in lesson.kept]),
            rejected=_mean([rewards[id(r)] for r in lesson.rejected]) if lesson.rejected else None,
            loss=_mean(lesson.losses),
            n_kept=len(lesson.kept),
            n_unfinished=sum(not s.finished for drawn in samples for s in drawn),
            n_failed=n_failed,
        )
        stage = self._judged(policy, stage)
        self._stages.write(stage, policy, map(self._row, raw))
        return stage

    def _judged(self, policy: Policy, stage: Stage) -> Stage:
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
        finished = [[(j, s.text) for j, s in enumerate(drawn) if s.finished] for drawn in samples]
        asked = [
            [(prompt, text) for _, text in drawn]
            for prompt, drawn in zip(prompts, finished, strict=True)
        ]
        results = call_groups(asked, self._scores)
        groups = [
            ResponseGroup(i, tuple(prompt), tuple(_responses(drawn, scored)))
            for i, (prompt, drawn, scored) in enumerate(
                zip(prompts, finished, results, strict=True), 1
            )
        ]
        n_failed = sum(isinstance(one, RewardError) for scored in results for one in scored)
        return groups, n_failed

    def _scores(self, pairs: Sequence[tuple[Chat, str]]) -> Sequence[Score | RewardError]:
        """One result per pair. Raises a temporary error."""
        results = self._score(pairs)
        raise_retryable(results)
        return results

    def _transformed(self, group: ResponseGroup) -> ResponseGroup:
        """A copy with the transformed rewards, by which responses are chosen."""
        found = record(self._raw(group), self.config.transforms)["transformed_rewards"]
        pairs = zip(group.responses, found, strict=True)
        return replace(group, responses=tuple(replace(r, reward=t) for r, t in pairs))

    def _row(self, group: ResponseGroup) -> dict[str, Any]:
        """As `annotate` writes it."""
        row = self._raw(group)
        return record(row, self.config.transforms) if self.config.transforms else row

    def _raw(self, group: ResponseGroup) -> dict[str, Any]:
        return {
            "prompt": list(group.prompt),
            "responses": [r.messages[0]["content"] for r in group.responses],
            "rewards": [r.reward for r in group.responses],
        }


def _responses(
    drawn: Sequence[tuple[int, str]], results: Sequence[Score | RewardError]
) -> Iterator[Response]:
    """The responses that have a reward. drawn: each with its index among the prompt's samples."""
    for (index, text), result in zip(drawn, results, strict=True):
        if isinstance(result, Score):
            yield Response(index, (Message(role="assistant", content=text),), result.reward)


def _paired(
    shown: Sequence[ResponseGroup], raw: Sequence[ResponseGroup]
) -> list[tuple[Response, float]]:
    """Each candidate and its raw reward."""
    return [
        (response, known.reward)
        for group, its in zip(shown, raw, strict=True)
        for response, known in zip(group.responses, its.responses, strict=True)
    ]


def _seed(seed: int, stage: int) -> int:
    return Random(f"{seed} {stage} sampling").getrandbits(63)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
