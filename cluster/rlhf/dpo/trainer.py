"""One iteration's training: TRL's DPOTrainer on preference pairs.

Invariant: what it makes depends on the policy, the reference, the pairs and the seed alone. Knows
nothing of where the pairs come from. Needs the extra `train`.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.errors import ConfigError
from cluster.rlhf.dpo.config import DpoLossConfig
from cluster.rlhf.policy.model import Policy


def fit_preferences(
    policy: Policy,
    reference: Policy,
    rows: Sequence[Mapping[str, Any]],
    config: DpoLossConfig,
    seed: int,
) -> list[float]:
    """Train `policy` in place on rows as `dpo_pairs.dpo_row` makes them; the loss of each step.

    Raises ConfigError where TRL is not installed or there is no pair.
    """
    if not rows:
        raise ConfigError("there is no preference pair to train on")
    try:
        import trl
        from datasets import Dataset
    except ImportError as error:
        raise ConfigError(f"DPO needs: pip install 'reward-cluster[train]' ({error})") from None
    from transformers import PrinterCallback

    library: Any = trl  # exports lazily, unseen by a type checker
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # TRL's own
        trainer = library.DPOTrainer(
            policy.module,
            ref_model=reference.module,
            args=library.DPOConfig(output_dir=scratch, **_settings(policy, config, seed)),
            train_dataset=Dataset.from_list([_columns(row) for row in rows]),
            processing_class=policy.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    policy.module.eval()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _settings(policy: Policy, config: DpoLossConfig, seed: int) -> dict[str, Any]:
    return {
        "beta": config.beta,
        "loss_type": [config.loss_type],
        "learning_rate": config.lr,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "max_length": policy.max_tokens,
        "seed": seed,
        "use_cpu": policy.device.type == "cpu",
        "bf16": False,
        "activation_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("prompt", "chosen", "rejected")}
