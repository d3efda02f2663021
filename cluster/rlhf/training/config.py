"""Bradley-Terry training configuration; the defaults are the model card's.

Source of the defaults: RLHFlow/RLHF-Reward-Modeling, bradley-terry-rm/llama3_8B_rm.py. Not the
card's, on purpose: the evaluation pairs come from a source of their own (the script takes the first
500 rows of its training set); a step's pairs are cut by tokens into forwards instead of by count;
the trained weights are float32 and AdamW is torch's (there: bfloat16 and paged_adamw_32bit); weight
decay is on norms and biases too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from cluster.rlhf.runs.trackers import Tracker
from cluster.settings.field_types import Count, Discount, NotNegative, Positive, Share
from cluster.settings.parsing import STRICT
from cluster.types import BosPolicy, Numerics, Truncation

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685), merged into the weights that are saved."""

    __pydantic_config__: ClassVar[Any] = STRICT

    rank: Count = 16
    """Adapter rank."""
    alpha: Count = 32
    """Scale of the update: alpha / rank."""
    dropout: Share = 0.0
    """Dropout of an adapter's input."""
    layers: tuple[str, ...] = LINEAR_LAYERS
    """Names of the body's linear layers that get an adapter."""
    base_dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the weights that are not trained; bfloat16 takes half the memory. Adapters and head
    are float32. FSDP2 shards mixed dtypes; FSDP1 would need a single one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run."""

    __pydantic_config__: ClassVar[Any] = STRICT
    renamed: ClassVar[Mapping[str, str]] = {
        "warmup": "warmup_ratio",
        "final_lr": "min_lr_ratio",
        "centring": "center_rewards_coefficient",
    }

    model: str = "tiny"
    """Model to start from: `tiny`, a local folder, or a hub id, with a chat template. A chat model
    without a scalar head gets a new one."""
    revision: str | None = None
    """Hub commit or tag of the model to start from."""
    train: str = ""
    """File of preference pairs, in the `chosen` + `rejected` formats of `reward-cluster score`."""
    evaluation: str | None = None
    """File of held-out pairs, never trained on."""
    evaluation_share: Share = 0.0
    """Without such a file: share of the training file's prompts that is held out instead."""
    out: str = "out/reward-model"
    """Folder for the trained model, its tokenizer and the run's record."""
    device: str = "auto"
    """`auto` (every GPU that `accelerate launch` gives, else CPU) or `cpu`."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Dtype of the saved weights."""
    mixed_precision: Literal["no", "bf16"] = "bf16"
    """Arithmetic of the forward; the weights being trained are float32."""
    seed: int = 42
    """Seed of the order of the pairs."""
    epochs: Count = 1
    """Passes over the pairs."""
    max_steps: Count | None = None
    """Stop after this many steps; the learning-rate schedule stays that of the whole run."""
    pairs_per_step: Count = 512
    """Pairs per optimizer step, over all devices."""
    forward_tokens: Count = 16384
    """Unique tokens per forward, shared prefixes counted once; a step with more accumulates
    gradients."""
    numerics: Numerics = "fast"
    """What the packed forward shares: any common prefix (`fast`), or the prompt (`invariant`)."""
    bos: BosPolicy = "tokenizer"
    """How the BOS token is added, as in the engine."""
    max_tokens: Count | None = 4096
    """Longest conversation in tokens; None is the model's max_position_embeddings."""
    truncate: Truncation = "left"
    """What happens to a longer one: `left` cuts its start, `error` leaves the pair out."""
    lr: Positive = 2e-6
    """Peak learning rate."""
    min_lr_ratio: Discount = 0.0
    """Learning rate at the end of the cosine schedule, as a share of the peak."""
    warmup_ratio: Share = 0.03
    """Share of the steps used for warm-up."""
    weight_decay: NotNegative = 0.001
    """Weight decay of AdamW."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW betas."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    margin: bool = False
    """Use each row's `margin`, in units of reward, as the least difference of its two rewards."""
    center_rewards_coefficient: NotNegative = 0.0
    """Weight of mean((chosen + rejected)^2); 0.01 keeps rewards around zero."""
    gradient_checkpointing: bool = True
    """Gradient checkpointing: recompute activations in the backward pass instead of keeping
    them."""
    lora: LoraSettings | None = None
    """Train LoRA adapters and the head instead of all weights."""
    checkpoint_every: Count | None = 100
    """Steps between checkpoints; the same command resumes from the last one."""
    keep_checkpoints: Count = 2
    """Checkpoints kept; older ones are removed."""
    evaluate_every: Count | None = None
    """Steps between evaluations; None evaluates only at the end."""
    log_every: Count = 10
    """Steps between printed lines; log.jsonl has every step."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers beside log.jsonl: `tensorboard`, `wandb` (offline unless WANDB_MODE says else)."""
