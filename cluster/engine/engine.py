"""Scoring engine of one device: encodings -> scores. No Ray.

Invariant: `score` answers every encoding exactly once, in order, with a Score or an error, and
never with a number the model did not give: NaN and infinity are errors of their item. Running out
of memory splits the batch and continues.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence

import torch

from cluster.config import EngineConfig
from cluster.engine.bits_proof import keep_promise, keeps_bits
from cluster.engine.checkpoint import revision
from cluster.engine.cublas import forbid_split_k
from cluster.engine.device_limits import forward_tokens, largest_forward, prompt_cache_bytes
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.encoding.tokenizer import refuse_closing_pad
from cluster.engine.fused import fuse, has_compiler, unfuse
from cluster.engine.graph_proof import use_graphs
from cluster.engine.model import PackedRewardModel, compute_dtype
from cluster.engine.packing import Batch, pack, plan
from cluster.engine.packing_proof import settle
from cluster.engine.prefix_cache import CachedForward, PromptCache
from cluster.engine.prefix_proof import prove
from cluster.engine.tuning import hardware, tune
from cluster.errors import ModelRefused, NotFinite, RewardError, ScoringFailed
from cluster.settings.parsing import check_config
from cluster.types import Encoding, ForwardPath, Message, ModelInfo, PromptCacheStats, Score

log = logging.getLogger(__name__)


class Engine:
    """A loaded model; `score` is not thread-safe, as a device does one thing at a time."""

    def __init__(
        self, model: PackedRewardModel, encoder: ChatEncoder, config: EngineConfig
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.config = config
        self.info = _model_info(model, encoder, config)
        self.prompts = PromptCache(0)
        if not self._alone and model.numerics != "reference":
            self.prompts = PromptCache(prompt_cache_bytes(config, model.device))

    @classmethod
    def load(cls, config: EngineConfig) -> Engine:
        """Load model and tokenizer, refuse a model that cannot be scored correctly, warm up.

        Raises ModelRefused with the reason and the remedy, ConfigError for a setting out of range.
        """
        check_config(config)
        if config.numerics == "invariant":
            forbid_split_k()
        encoder = ChatEncoder.load(config)
        model = PackedRewardModel.load(config)
        refuse_closing_pad(model.module.config.get_text_config().pad_token_id, encoder.closing_ids)
        settle(model, encoder.max_tokens)
        tune(model, largest_forward(config, model.device, encoder.max_tokens), config.layers)
        keep_promise(model, encoder.max_tokens)
        engine = cls(model, encoder, config)
        if config.layers == "compiled" and model.numerics != "reference":
            engine._fuse()
        use_graphs(model, config.cuda_graph_rows, encoder.max_tokens)
        engine.warm_up()
        engine._prove_prompts()
        return engine

    def warm_up(self) -> None:
        """One small forward, so that the first request pays for no lazy initialisation."""
        chat: list[Message] = [
            {"role": "user", "content": "Warm up."},
            {"role": "assistant", "content": "Warm."},
        ]
        result = self.score([self.encoder.encode(chat)])[0]
        if isinstance(result, RewardError):
            raise ModelRefused(f"the model cannot score a one-word chat: {result}")

    def _fuse(self) -> None:
        """Compile the layers, unless `invariant` would lose its bits."""
        module = self.model.module
        if not has_compiler(self.model.device):
            log.warning("no C++ compiler is found: layers are not compiled")
            return
        fuse(module)
        if self.model.numerics != "invariant" or self._alone:
            return
        if not keeps_bits(self.model, self.encoder.max_tokens):
            log.warning("compiled layers let a chat's bits follow its batch: they are left as is")
            unfuse(module)

    def _prove_prompts(self) -> None:
        """Start with an empty prompt cache, or with none if hits are not as good as misses."""
        n_bytes = self.prompts.max_bytes
        exact = self.config.numerics == "invariant"
        module, longest = self.model.module.config, self.encoder.max_tokens
        if n_bytes and not prove(self.score, self.prompts, module, longest, exact):
            log.warning("this model needs more of a prompt than its keys and values: none is kept")
            n_bytes = 0
        self.prompts = PromptCache(n_bytes)

    def score(self, encodings: Sequence[Encoding]) -> list[Score | RewardError]:
        """Score each encoding; same order, `queue_s` 0. Bad items are answered as errors."""
        results: dict[int, Score | RewardError] = {}
        config = self.config
        budget = 0 if self._alone else forward_tokens(config, self.model.device)
        if self.model.numerics == "invariant" and self.model.row_sizes:
            budget = min(budget, self.model.row_sizes[-1])
        known = self.prompts.lengths(encodings) if self.prompts.max_bytes else None
        planned = plan(encodings, self.model.numerics, budget, config.min_shared_tokens, known)
        todo = [part for indices in planned for part in self._provable(encodings, indices)]
        todo.reverse()
        while todo:
            indices = todo.pop()
            answers = self._score_if_it_fits([encodings[i] for i in indices])
            if answers is None:
                self.prompts.clear()
                torch.cuda.empty_cache()
                halves = _halves(indices)
                answers = [_too_large(encodings[indices[0]])] if not halves else []
                todo.extend(halves)
            results.update(zip(indices, answers, strict=False))
        return [_placed(results[i], i) for i in range(len(encodings))]

    def _score_if_it_fits(self, encodings: list[Encoding]) -> list[Score | RewardError] | None:
        """None where the device's memory is too small; the traceback, which holds the batch's
        tensors, is gone by then."""
        try:
            return self._score_batch(encodings)
        except torch.OutOfMemoryError:
            return None

    def _provable(self, encodings: Sequence[Encoding], indices: list[int]) -> list[list[int]]:
        """Beyond the row counts that were tried, `invariant` runs one chat per forward."""
        tried = self._are_tried(encodings[i] for i in indices)
        return [indices] if tried else [[i] for i in indices]

    def _are_tried(self, encodings: Iterable[Encoding]) -> bool:
        """Whether the row counts of these chats are among those whose bits were tried."""
        sizes = self.model.row_sizes
        if self.model.numerics != "invariant" or not sizes:
            return True
        return max(encoding.n_tokens for encoding in encodings) <= sizes[-1]

    @property
    def prompt_stats(self) -> PromptCacheStats:
        """What is cached between batches, and how much that has saved since the start."""
        return self.prompts.stats

    def _score_batch(self, encodings: list[Encoding]) -> list[Score | RewardError]:
        keeps = self._are_tried(encodings)  # what is kept has the bits of every row count tried
        known = self.prompts.lengths(encodings) if keeps else {}
        batch = pack(encodings, self.model.numerics, self.config.min_shared_tokens, known)
        forward = self.prompts.begin(batch, encodings) if keeps else None
        started = time.perf_counter()
        rewards = self.rewards(batch, forward)
        if forward is not None:
            self.prompts.end(forward)
        forward_s = time.perf_counter() - started
        return [
            self._answer(encoding, reward, forward_s)
            for encoding, reward in zip(encodings, rewards, strict=True)
        ]

    @property
    def _alone(self) -> bool:
        """Whether `invariant` needs one chat per forward on this device."""
        return _forward_path(self.model) == "alone"

    @torch.inference_mode()
    def rewards(self, batch: Batch, forward: CachedForward | None = None) -> list[float]:
        """The raw logits of one batch, in its order. forward: its share of the prompt cache."""
        rewards: list[float] = self.model(batch, forward and forward.wrap).tolist()
        return rewards

    def _answer(self, encoding: Encoding, reward: float, forward_s: float) -> Score | RewardError:
        if not math.isfinite(reward):
            return NotFinite(
                f"the model answered {reward} for these {encoding.n_tokens} tokens; "
                "check the weights, or try dtype float32"
            )
        return Score(
            reward=reward,
            n_tokens=encoding.n_tokens,
            n_bos=encoding.n_bos,
            truncated=encoding.truncated,
            queue_s=0.0,
            forward_s=forward_s,
            model=self.info.model,
            revision=self.info.revision,
            numerics=self.info.numerics,
        )


def _halves(indices: list[int]) -> list[list[int]]:
    middle = len(indices) // 2
    return [indices[middle:], indices[:middle]] if middle else []


def _too_large(encoding: Encoding) -> ScoringFailed:
    return ScoringFailed(
        f"out of memory on {encoding.n_tokens} tokens alone; set max_tokens lower or use a "
        "larger device"
    )


def _placed(result: Score | RewardError, index: int) -> Score | RewardError:
    return result.at(index) if isinstance(result, RewardError) else result


def _forward_path(model: PackedRewardModel) -> ForwardPath:
    if model.numerics == "reference":
        return "own"
    return "alone" if model.numerics == "invariant" and not model.row_sizes else "packed"


def _model_info(model: PackedRewardModel, encoder: ChatEncoder, config: EngineConfig) -> ModelInfo:
    found = model.module.config
    return ModelInfo(
        model=config.model,
        revision=revision(config, getattr(found, "_commit_hash", None)),
        architecture=type(model.module).__name__,
        dtype=config.dtype,
        compute_dtype=str(compute_dtype(config, model.device)).removeprefix("torch."),
        device=str(model.device),
        hardware=hardware(model),
        numerics=config.numerics,
        vocab_size=encoder.vocab_size,
        max_tokens=encoder.max_tokens,
        n_parameters=sum(p.numel() for p in model.module.parameters()),
        encoder=encoder.fingerprint,
        forward=_forward_path(model),
        not_packed=model.not_packed,
    )
