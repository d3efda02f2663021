"""A random one-layer Llama that generates, too small to do it well."""

from __future__ import annotations

from typing import Any


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
