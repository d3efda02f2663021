"""Training data: the pairs of a run, and those held out for evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

from cluster.data.groups import Reject
from cluster.data.input_files import find_input
from cluster.data.rejects import Rejects
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import ConfigError, InvalidInput
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.pair_store import PairStore, write_store
from cluster.rlhf.training.pairs import Pair, stream_pairs

TRAINING, EVALUATION = "training", "evaluation"


@dataclass(frozen=True, slots=True)
class PreferenceData:
    """No prompt of `evaluation` is trained on if it was split off, no pair if it was given as a
    file.

    digest: of all pairs in order.
    """

    training: PairStore
    evaluation: PairStore

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for pair in chain(self.training, self.evaluation):
            digest.update(_key(pair) + f"|{pair.margin}|".encode())
        return digest.hexdigest()[:16]


def write_data(config: TrainConfig, encoder: ChatEncoder, rejects: Rejects, folder: Path) -> None:
    """Tokenize the pairs of a run into `folder`; one process does so for all.

    Raises ConfigError where a source is missing or has no pair.
    """
    sources = {TRAINING: config.train, EVALUATION: config.evaluation}
    named = {name: source for name, source in sources.items() if source is not None}
    for source in named.values():
        if not source:
            raise ConfigError("there is no file of pairs; name one with `chosen` + `rejected`")
        try:
            find_input(source)
        except InvalidInput as error:
            raise ConfigError(f"there is no file of pairs {source!r}: {error}") from None
    for name, source in named.items():
        pairs = rejects.keep_valid(_named(source, encoder))
        if not write_store(folder / name, pairs):
            raise ConfigError(f"{source} has no usable pair ({rejects.n} broken rows)")


def open_data(config: TrainConfig, folder: Path) -> PreferenceData:
    """What `write_data` wrote, training and evaluation apart.

    Raises ConfigError where a pair is in both, or where a share of the prompts leaves one empty.
    """
    training = PairStore.open(folder / TRAINING)
    if config.evaluation is None:
        return _split(training, config.evaluation_share, config.seed)
    evaluation = PairStore.open(folder / EVALUATION)
    _check_apart(config, training, evaluation)
    return PreferenceData(training, evaluation)


def _named(path: str, encoder: ChatEncoder) -> Iterator[Pair | Reject]:
    """The file's rows, a reject saying which file it is of."""
    for row in stream_pairs(path, encoder):
        if isinstance(row, Reject):
            error = type(row.error)(f"{Path(path).name}: {row.error.message}")
            yield Reject(row.number, row.row, error)
        else:
            yield row


def _split(pairs: PairStore, share: float, seed: int) -> PreferenceData:
    """All pairs of a random `share` of the prompts set apart."""
    keys = pairs.prompt_keys
    prompts = list(dict.fromkeys(keys))
    apart = set(Random(f"{seed} evaluation").sample(prompts, round(share * len(prompts))))
    if share and not apart:
        raise ConfigError(
            f"evaluation_share {share} of {len(prompts)} prompts is none; give a larger share, or "
            "0 to train without an evaluation"
        )
    training = [i for i, key in enumerate(keys) if key not in apart]
    if not training:
        raise ConfigError(
            f"evaluation_share {share} of {len(prompts)} prompts leaves none to learn"
        )
    evaluation = [i for i, key in enumerate(keys) if key in apart]
    return PreferenceData(pairs.subset(training), pairs.subset(evaluation))


def _check_apart(config: TrainConfig, training: Sequence[Pair], evaluation: Sequence[Pair]) -> None:
    held_out = {_digest(pair) for pair in evaluation}
    known = len(held_out & set(map(_digest, training)))
    if known:
        raise ConfigError(
            f"{known} pairs of {config.evaluation} are in {config.train} too; "
            "an evaluation on training data means nothing"
        )


def _digest(pair: Pair) -> bytes:
    return hashlib.sha256(_key(pair)).digest()


def _key(pair: Pair) -> bytes:
    return pair.chosen.input_ids.tobytes() + b"|" + pair.rejected.input_ids.tobytes()
