"""What `pairs` and `select` write, through TRL's real trainers on a tiny random policy."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.groups import annotated, write_lines
from support.policies import random_causal_lm

from cluster.cli import main

TURNS: list[dict[str, str]] = [
    {"role": "user", "content": "Name a colour."},
    {"role": "assistant", "content": "Red."},
    {"role": "user", "content": "Another one?"},
]
ROWS = [
    annotated([0.5, 2.0, -1.0], ["Blue.", "Green is one.", "No."], prompt=TURNS),
    annotated([1.0, 0.0], ["Yes, it is.", "No idea."], prompt="Is water wet?"),
    annotated([0.25, 0.75, 0.5], ["One", "Two", "Three"], prompt="What is 1 + 1?"),
    annotated([3.0, -3.0], ["Paris.", "Rome."], prompt="The capital of France?"),
]


@pytest.fixture
def trl() -> Any:
    """The package, imported only when a test needs it."""
    return importlib.import_module("trl")


@pytest.fixture
def policy(tmp_path: Path) -> tuple[Any, Any]:
    """A random one-layer Llama, and the embedded model's tokenizer with its chat template.

    Loaded from a folder, because DPOTrainer loads the reference from where the policy came.
    """
    from transformers import AutoModelForCausalLM

    model, tokenizer = random_causal_lm()
    model.save_pretrained(tmp_path / "policy")
    return AutoModelForCausalLM.from_pretrained(tmp_path / "policy"), tokenizer


def load(command: str, tmp_path: Path, *options: str) -> Any:
    """ROWS through `command`, and its output as `datasets` reads it."""
    from datasets import Dataset

    out = tmp_path / "out.jsonl"
    source = write_lines(tmp_path / "in.jsonl", ROWS)
    done = CliRunner().invoke(main, [command, str(source), str(out), *options])
    assert done.exit_code == 0, done.stderr
    return Dataset.from_json(str(out), cache_dir=str(tmp_path / "cache"))


def settings(tmp_path: Path) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 3,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "disable_tqdm": True,
    }


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_pairs_train_a_policy_with_trls_dpo_trainer(
    tmp_path: Path, policy: tuple[Any, Any], trl: Any
) -> None:
    model, tokenizer = policy
    trainer = trl.DPOTrainer(
        model,
        args=trl.DPOConfig(**settings(tmp_path)),
        train_dataset=load("pairs", tmp_path),
        processing_class=tokenizer,
    )
    trainer.train()
    first, *_, last = losses(trainer)
    assert first == pytest.approx(0.6931, abs=1e-3)  # policy and reference are still the same
    assert last < first


def test_dpo_sees_the_prompt_and_both_responses_as_the_template_puts_them(
    tmp_path: Path, policy: tuple[Any, Any], trl: Any
) -> None:
    model, tokenizer = policy
    trainer = trl.DPOTrainer(
        model,
        args=trl.DPOConfig(**settings(tmp_path)),
        train_dataset=load("pairs", tmp_path),
        processing_class=tokenizer,
    )
    seen = trainer.train_dataset[0]
    for side, text in (("chosen", "Green is one."), ("rejected", "No.")):
        whole = [*TURNS, {"role": "assistant", "content": text}]
        expected = tokenizer.apply_chat_template(whole, return_dict=False)
        assert seen["prompt_ids"] + seen[f"{side}_ids"] == expected


@pytest.mark.slow
def test_completions_train_a_policy_with_trls_sft_trainer_on_the_response_alone(
    tmp_path: Path, policy: tuple[Any, Any], trl: Any
) -> None:
    model, tokenizer = policy
    trainer = trl.SFTTrainer(
        model,
        args=trl.SFTConfig(**settings(tmp_path)),
        train_dataset=load("select", tmp_path, "--form", "completion"),
        processing_class=tokenizer,
    )
    trained_on = set()
    for batch in trainer.get_train_dataloader():
        trained_on |= {tokenizer.decode(row[row != -100]).strip() for row in batch["labels"]}
    best = ("Green is one.", "Yes, it is.", "Two", "Paris.")
    assert trained_on == {f"{text}<|eot_id|>" for text in best}
    trainer.train()
    first, *_, last = losses(trainer)
    assert last < first
