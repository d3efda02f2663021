"""Training benchmark (`bench training`): pairs per second of this trainer and TRL's RewardTrainer.

Both have the same float32 weights, pairs (as token ids), pairs per step and AdamW settings, and no
gradient checkpointing. TRL pads; this trainer pads nothing and computes a prompt that pairs share
once. Rounds alternate, and a contender's figure is the median over its rounds. Tokenization and
loading are not timed on either side.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from cluster.bench import hardware, presets, workloads
from cluster.errors import ConfigError
from cluster.rlhf.training.config import TrainConfig
from cluster.rlhf.training.loop import new_trainer, train
from cluster.rlhf.training.model_setup import load_starting_model
from cluster.rlhf.training.pairs import Pair

Log = Callable[[str], None]
PAIRS_A_STEP = 32
TRL_PAIRS_A_FORWARD = 8


def bench_training(
    preset: presets.Preset | None = None, n_prompts: int = 16, rounds: int = 3, log: Log = print
) -> dict[str, Any]:
    """Measure both trainers; the result is ready for JSON.

    preset: shape of a model with random weights; None trains `tiny`.  n_prompts: prompts, with 4
    responses each.

    Raises ConfigError if TRL is not installed.
    """
    results = []
    with tempfile.TemporaryDirectory() as folder:
        if preset is not None:
            presets.save(preset, Path(folder))
        config = TrainConfig(
            model="tiny" if preset is None else folder,
            device="cpu",
            mixed_precision="no",
            pairs_per_step=PAIRS_A_STEP,
            forward_tokens=4096,
            gradient_checkpointing=False,
            max_tokens=None,
        )
        for name, pairs in _loads(
            load_starting_model(config).encoder.vocab_size, n_prompts
        ).items():
            rates: dict[str, list[float]] = {"trl": [], "here": []}
            for number in range(rounds):
                log(f"{name}: round {number + 1} of {rounds}")
                rates["trl"].append(len(pairs) / _trl(config, pairs))
                rates["here"].append(len(pairs) / _here(config, pairs))
            results.append(_row(name, pairs, rates))
    return {
        "bench": "training",
        "preset": preset or "tiny",
        "machine": hardware.describe(torch.device("cpu")),
        "rows": results,
    }


def _loads(vocab_size: int, n_prompts: int) -> dict[str, list[Pair]]:
    """All pairs of 4 responses per prompt, as in UltraFeedback, and only the first pair of each."""
    sides = workloads.grouped(vocab_size, n_prompts, 4)
    groups: dict[bytes, list[Any]] = {}
    for side in sides:
        groups.setdefault(side.input_ids[: side.prompt_len].tobytes(), []).append(side)
    every = [[Pair(*two) for two in combinations(group, 2)] for group in groups.values()]
    return {
        "6 pairs a prompt": [pair for pairs in every for pair in pairs],
        "1 pair a prompt": [pairs[0] for pairs in every],
    }


def _row(name: str, pairs: Sequence[Pair], rates: dict[str, list[float]]) -> dict[str, Any]:
    here, trl = (statistics.median(rates[who]) for who in ("here", "trl"))
    n_tokens = sum(pair.chosen.n_tokens + pair.rejected.n_tokens for pair in pairs)
    return {
        "workload": name,
        "pairs": len(pairs),
        "tokens": n_tokens,
        "pairs_per_s": {"here": here, "trl": trl},
        "ratio": here / trl,
        "rates": rates,
    }


def _here(config: TrainConfig, pairs: Sequence[Pair]) -> float:
    """Seconds of one epoch."""
    trainer = new_trainer(load_starting_model(config).model, pairs, config)
    start = time.perf_counter()
    train(trainer, pairs, lambda _: None)
    return time.perf_counter() - start


def _trl(config: TrainConfig, pairs: Sequence[Pair]) -> float:
    """Seconds of one epoch, as TRL reports them. Raises ConfigError if TRL is not installed."""
    try:
        import trl
        from datasets import Dataset
    except ImportError:
        raise ConfigError("this comparison needs: pip install 'reward-cluster[train]'") from None
    from transformers import PrinterCallback

    library: Any = trl  # a type checker cannot see its lazy exports

    start = load_starting_model(config)
    module = start.model.module
    module.set_attn_implementation("sdpa")
    rows = {
        "chosen_ids": [pair.chosen.input_ids.tolist() for pair in pairs],
        "rejected_ids": [pair.rejected.input_ids.tolist() for pair in pairs],
    }
    with tempfile.TemporaryDirectory() as scratch:
        settings = library.RewardConfig(
            output_dir=scratch,
            per_device_train_batch_size=TRL_PAIRS_A_FORWARD,
            gradient_accumulation_steps=PAIRS_A_STEP // TRL_PAIRS_A_FORWARD,
            num_train_epochs=1,
            learning_rate=config.lr,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            max_length=None,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = library.RewardTrainer(
            module,
            settings,
            train_dataset=Dataset.from_dict(rows),
            processing_class=start.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        done = trainer.train()
    return float(done.metrics["train_runtime"])
