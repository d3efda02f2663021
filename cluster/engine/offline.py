"""Offline scorer: conversations -> scores in this process.

The whole path without Ray, for files, checks and scripts. A conversation that cannot be encoded
or scored is answered with its error in its place, and does not affect the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cluster.config import EngineConfig
from cluster.data.call_results import valid_items, with_errors
from cluster.engine.engine import Engine
from cluster.errors import RewardError
from cluster.types import Conversation, Encoding, ModelInfo, Score

FORWARDS_A_STEP = 4
"""Forwards of full token budget between two calls of `on_tokens`."""


class OfflineScorer:
    """An engine fed with conversations; `score` is a `cluster.data.formats.Scorer`.

    on_tokens: called with the number of tokens of each step when its scores are there.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._step_tokens = FORWARDS_A_STEP * engine.config.token_budget
        self.on_tokens: Callable[[int], object] = lambda _: None

    @classmethod
    def load(cls, config: EngineConfig) -> OfflineScorer:
        """Raises ModelRefused and ConfigError as `Engine.load` does."""
        return cls(Engine.load(config))

    @property
    def info(self) -> ModelInfo:
        return self._engine.info

    def encode(self, conversations: Sequence[Conversation]) -> list[Encoding | RewardError]:
        """The encoding or the error of each conversation, in order."""
        return self._engine.encoder.encode_all(conversations)

    def score(self, conversations: Sequence[Conversation]) -> list[Score | RewardError]:
        """The score or the error of each conversation, in order."""
        return self.score_encoded(self.encode(conversations))

    def score_encoded(
        self, encodings: Sequence[Encoding | RewardError]
    ) -> list[Score | RewardError]:
        """The score of each encoding, in order; an error stays where it is."""
        results: list[Score | RewardError] = []
        for step in self._steps(valid_items(encodings)):
            results += self._engine.score(step)
            self.on_tokens(sum(encoding.n_tokens for encoding in step))
        return with_errors(encodings, results)

    def _steps(self, encodings: Sequence[Encoding]) -> Iterator[list[Encoding]]:
        """Runs of neighbours, so that a group's shared prompt stays in one step."""
        step: list[Encoding] = []
        n_tokens = 0
        for encoding in encodings:
            step.append(encoding)
            n_tokens += encoding.n_tokens
            if n_tokens >= self._step_tokens:
                yield step
                step, n_tokens = [], 0
        if step:
            yield step
