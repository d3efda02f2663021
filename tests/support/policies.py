"""One-layer Llamas that generate, too small to do it well: a random one, and one that stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_small_policy(folder: Path) -> Path:
    """A one-layer Llama that has learnt to end its turn soon, and little else."""
    from cluster.rlhf.policy.config import SftConfig
    from cluster.rlhf.policy.model import Policy
    from cluster.rlhf.policy.sft import fine_tune
    from cluster.types import Chat, Message

    made = Policy(*random_causal_lm())
    chats: list[tuple[Chat, str]] = [
        ([Message(role="user", content=f"Say {word}.")], " ".join([word] * number))
        for number in (1, 2, 4, 8)
        for word in ("one", "this", "yes", "apple", "Paris", "Hello!")
    ]
    fine_tune(made, chats, SftConfig(lr=1e-2, epochs=12, batch=8), seed=0)
    made.save(folder)
    return folder


def random_causal_lm(pad_token: str | None = None) -> tuple[Any, Any]:
    """The same model every time, and the embedded model's tokenizer, perhaps with another pad."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from cluster.engine.checkpoint import locate

    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    tokenizer.pad_token = pad_token or tokenizer.pad_token
    make_config: Any = LlamaConfig
    config = make_config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config), tokenizer
