"""Training data: the pairs of a run, and those held out for evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cluster.data.groups import Reject
from cluster.data.input_files import find_input
from cluster.data.rejects import Rejects
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import ConfigError, InvalidInput
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.pairs import Pair, read_pairs


@dataclass(frozen=True, slots=True)
class PreferenceData:
    """No prompt of `evaluation` is trained on where it was split off, no pair where it was given.

    digest: of all pairs in order.
    """

    training: list[Pair]
    evaluation: list[Pair]

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for pair in (*self.training, *self.evaluation):
            digest.update(_key(pair) + f"|{pair.margin}|".encode())
        return digest.hexdigest()[:16]


def read_data(config: TrainConfig, encoder: ChatEncoder, rejects: Rejects) -> PreferenceData:
    """Raises ConfigError where a file is missing, is the training file again, or has no pair."""
    for path in (config.train, *([config.evaluation] if config.evaluation else ())):
        if not path:
            raise ConfigError("there is no file of pairs; name one with `chosen` + `rejected`")
        try:
            find_input(path)
        except InvalidInput as error:
            raise ConfigError(f"there is no file of pairs {path!r}: {error}") from None
    training = _pairs(config.train, encoder, rejects)
    if config.evaluation is not None:
        evaluation = _pairs(config.evaluation, encoder, rejects)
        _check_apart(config, training, evaluation)
        return PreferenceData(training, evaluation)
    return _split(training, config.evaluation_share, config.seed)


def _pairs(path: str, encoder: ChatEncoder, rejects: Rejects) -> list[Pair]:
    pairs = list(rejects.keep_valid(_named(path, encoder)))
    if not pairs:
        raise ConfigError(f"{path} has no usable pair ({rejects.n} broken rows)")
    return pairs


def _named(path: str, encoder: ChatEncoder) -> Iterator[Pair | Reject]:
    """The file's rows, a reject saying which file it is of."""
    for row in read_pairs(path, encoder):
        if isinstance(row, Reject):
            error = type(row.error)(f"{Path(path).name}: {row.error.message}")
            yield Reject(row.number, row.row, error)
        else:
            yield row


def _split(pairs: list[Pair], share: float, seed: int) -> PreferenceData:
    """All pairs of a random `share` of the prompts set apart."""
    if not 0 <= share < 1:
        raise ConfigError(f"evaluation_share {share} must be at least 0 and less than 1")
    prompts = list(dict.fromkeys(pair.prompt_key for pair in pairs))
    apart = set(Random(f"{seed} evaluation").sample(prompts, round(share * len(prompts))))
    if share and not apart:
        raise ConfigError(
            f"evaluation_share {share} of {len(prompts)} prompts is none; give a larger share, or "
            "0 to train without an evaluation"
        )
    training = [pair for pair in pairs if pair.prompt_key not in apart]
    if not training:
        raise ConfigError(
            f"evaluation_share {share} of {len(prompts)} prompts leaves none to learn"
        )
    return PreferenceData(training, [pair for pair in pairs if pair.prompt_key in apart])


def _check_apart(config: TrainConfig, training: Sequence[Pair], evaluation: Sequence[Pair]) -> None:
    trained_on = set(map(_key, training))
    known = sum(_key(pair) in trained_on for pair in evaluation)
    if known:
        raise ConfigError(
            f"{known} pairs of {config.evaluation} are in {config.train} too; "
            "an evaluation on training data means nothing"
        )


def _key(pair: Pair) -> bytes:
    return pair.chosen.input_ids.tobytes() + b"|" + pair.rejected.input_ids.tobytes()
