"""Parity check (`verify`): the engine against the model card's pipeline on fixed chats.

The pipeline is loaded on its own and freed before the engine loads, so the two share no weights,
ids or batch; the engine gets all chats in one call. Token ids must be equal, and rewards must
differ by no more than `bound_ulp`.

The rounding of bfloat16 hides faults of several ulp, so a packed engine is held to a second
comparison in float32, whose bound is 2^-17 of the largest reward: with the checkpoint's own
weights, and skipped by name where these do not fit in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cluster.config import EngineConfig
from cluster.engine.memory import free_bytes, weight_bytes
from cluster.engine.offline import OfflineScorer
from cluster.engine.parity.chats import CHATS
from cluster.engine.parity.hf_pipeline import CardPipeline, PipelineReward
from cluster.errors import ModelRefused, RewardError
from cluster.types import Encoding, ModelInfo, Score

SIGNIFICANT_BITS = {"bfloat16": 8, "float16": 11, "float32": 24}
NOISE_ULP = {"bfloat16": 16.0, "float16": 16.0, "float32": 64.0}
"""Allowed where kernels or precision differ, about twice what random Llamas of 4 to 32 layers
showed: 7.8 ulp from the pipeline (bfloat16 weights, float32 arithmetic) and 21 ulp (float32), and
11 ulp between bfloat16 and its own float32 number."""
GIB = 2**30


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """One chat scored twice.

    pipeline, engine: the rewards.  problem: why there is none, and then both are NaN.
    """

    name: str
    n_tokens: int
    same_ids: bool = False
    pipeline: float = math.nan
    engine: float = math.nan
    problem: str | None = None

    @property
    def difference(self) -> float:
        return self.engine - self.pipeline


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What the check found.

    skipped: chats that the model's own template refuses.  bound_ulp: largest allowed difference,
    in units of `ulp`.  float32: the same in float32 arithmetic; None if this is exact already,
    or not done for `no_float32`.
    """

    info: ModelInfo
    rows: tuple[VerifyRow, ...]
    skipped: tuple[str, ...]
    bound_ulp: float
    float32: VerifyReport | None = None
    no_float32: str = ""

    @property
    def ulp(self) -> float:
        """Spacing of the weights' dtype at the set's largest reward, the pipeline's own grid."""
        largest = max((abs(row.pipeline) for row in self._scored), default=0.0)
        return math.ldexp(1.0, math.frexp(largest)[1] - SIGNIFICANT_BITS[self.info.dtype])

    @property
    def max_difference(self) -> float:
        return max((abs(row.difference) for row in self._scored), default=0.0)

    @property
    def passed(self) -> bool:
        """Every chat scored, from the pipeline's ids, within the bound."""
        complete = bool(self.rows) and all(row.same_ids for row in self.rows)
        close = self.max_difference <= self.bound_ulp * self.ulp
        finer = self.float32 is None or self.float32.passed
        return complete and len(self._scored) == len(self.rows) and close and finer

    @property
    def summary(self) -> str:
        """The largest difference beside the allowed one, in a sentence."""
        return (
            f"largest difference {self.max_difference:.3g} = {self.max_difference / self.ulp:.3g} "
            f"ulp, allowed {self.bound_ulp:g} ulp (1 ulp = {self.ulp:.3g}, the spacing of "
            f"{self.info.dtype} at the largest reward)"
        )

    @property
    def findings(self) -> list[str]:
        """`summary`, what float32 shows, and how the forward was chosen, a sentence each."""
        found = [self.summary]
        if self.float32 is not None:
            found.append(f"in float32: {self.float32.summary}")
        if self.no_float32:
            found.append(f"not compared in float32: {self.no_float32}")
        return [*found, _forward_in_words(self.info)]

    @property
    def _scored(self) -> list[VerifyRow]:
        return [row for row in self.rows if row.problem is None]


def verify(config: EngineConfig) -> VerifyReport:
    """Score the fixed chats both ways. Loads the model twice, one after the other, and, where the
    engine is packed, as often in float32.

    What the pipeline does not have is set as in the pipeline, whatever `config` says: the
    tokenizer's BOS, the head in the weights' dtype, nothing truncated. Raises as loading does.
    """
    config = replace(config, bos="tokenizer", head_dtype="model", truncate="error")
    report = _compare(config)
    if config.numerics == "reference" or config.dtype == "float32":
        return report
    attention = "auto" if config.attention == "varlen" else config.attention
    finer = replace(config, dtype="float32", compute="model", attention=attention)
    need, free = weight_bytes(finer), free_bytes(report.info.device)
    if need is not None and need > free:
        reason = f"its weights need {need / GIB:.1f} GiB and {free / GIB:.1f} GiB are free"
        return replace(report, no_float32=reason)
    return replace(report, float32=_compare(finer))


def _compare(config: EngineConfig) -> VerifyReport:
    expected = CardPipeline(config).rewards([chat for _, chat in CHATS])
    pairs = [
        (name, chat, answer)
        for (name, chat), answer in zip(CHATS, expected, strict=True)
        if isinstance(answer, PipelineReward)
    ]
    scorer = OfflineScorer.load(config)
    encodings = scorer.encode([chat for _, chat, _ in pairs])
    scores = scorer.score_encoded(encodings)
    rows = tuple(
        _row(name, answer, encoding, score)
        for (name, _, answer), encoding, score in zip(pairs, encodings, scores, strict=True)
    )
    known = {name for name, _, _ in pairs}
    skipped = tuple(name for name, _ in CHATS if name not in known)
    return VerifyReport(scorer.info, rows, skipped, bound_ulp(scorer.info))


def require_parity(config: EngineConfig) -> VerifyReport:
    """`verify`, for the start of a server: raises ModelRefused where it does not pass."""
    report = verify(config)
    if not report.passed:
        raise ModelRefused(
            f"{config.model!r} is scored unlike the plain pipeline: "
            f"{'; '.join(report.findings)}. See it chat by chat with `reward-cluster verify`, or "
            "serve it without verify_at_start"
        )
    return report


def bound_ulp(info: ModelInfo) -> float:
    """How far a right engine may be from the pipeline, in ulps at the largest reward.

    `reference` on a CPU runs the pipeline's own kernels on the same shapes: 0, bit-equal.
    Elsewhere the order of sums and the arithmetic's dtype differ, and the pipeline's own rounding
    noise remains.
    """
    exact = info.numerics == "reference" and info.device == "cpu"
    return 0.0 if exact else NOISE_ULP[info.dtype]


def _forward_in_words(info: ModelInfo) -> str:
    if info.not_packed:
        return f"scored by its own forward, one chat at a time, as {info.not_packed}"
    if info.forward == "own":
        return "scored by its own forward, one chat at a time"
    alone = ", one chat a forward" if info.forward == "alone" else ""
    return f"packed{alone}: proven at load against the model's own forward"


def _row(
    name: str,
    expected: PipelineReward,
    encoding: Encoding | RewardError,
    score: Score | RewardError,
) -> VerifyRow:
    n_tokens = len(expected.input_ids)
    if isinstance(encoding, RewardError):
        return VerifyRow(name, n_tokens, problem=encoding.message)
    same_ids = encoding.input_ids.tolist() == list(expected.input_ids)
    if isinstance(score, RewardError):
        return VerifyRow(name, n_tokens, same_ids, problem=score.message)
    if not math.isfinite(expected.reward):
        problem = f"the pipeline answers {expected.reward}"
        return VerifyRow(name, n_tokens, same_ids, problem=problem)
    return VerifyRow(name, n_tokens, same_ids, expected.reward, score.reward)
