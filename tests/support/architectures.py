"""Small random checkpoints of many architectures, and what plain transformers says of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cluster.engine.checkpoint import locate
from cluster.types import Encoding

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
}
GPT_OSS = {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 32}
DEEPSEEK = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
LINEAR = {
    "head_dim": 8,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "layer_types": ["linear_attention", "full_attention"],
}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 48,
    "rope_theta": 10000.0,
}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}

JAMBA = {
    "num_experts": 2,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "mamba_d_state": 4,
    "use_mamba_kernels": False,
}

CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaConfig", {}, "packed"),
    "qwen2": ("Qwen2Config", {}, "packed"),
    "mistral_window": ("MistralConfig", {"sliding_window": 32}, "packed"),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "sliding_window": 32}, "packed"),
    "gpt_oss": ("GptOssConfig", GPT_OSS, "packed"),
    "deepseek_v3": ("DeepseekV3Config", DEEPSEEK, "packed"),
    "falcon": ("FalconConfig", {}, "own"),
    "gpt_neo": (
        "GPTNeoConfig",
        {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 32},
        "own",
    ),
    "openai_gpt": ("OpenAIGPTConfig", {"n_positions": 256}, "own"),
    "nemotron": ("NemotronConfig", {}, "own"),
    "stablelm": ("StableLmConfig", {}, "own"),
    "qwen3_next": ("Qwen3NextConfig", LINEAR, "own"),
    "phi3_longrope": (
        "Phi3Config",
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 48},
        "own",
    ),
    "llama_dynamic": (
        "LlamaConfig",
        {"rope_parameters": DYNAMIC, "max_position_embeddings": 64},
        "packed",
    ),
    "gptj": ("GPTJConfig", {"n_embd": 32, "n_head": 4, "n_layer": 2, "rotary_dim": 4}, "packed"),
    "mixtral": ("MixtralConfig", {}, "packed"),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 32}, "packed"),
    "jamba": ("JambaConfig", JAMBA, "own"),
}


def save_random(folder: Path, name: str, extra: dict[str, Any]) -> Path:
    """A random float32 checkpoint of a transformers config class."""
    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    make: Any = getattr(transformers, name)
    special = {"pad_token_id": tokenizer.pad_token_id, "num_labels": 1}
    # Room for the tokens that AutoTokenizer adds for some kinds of model (Qwen2, GPT-2).
    config = make(**{**SMALL, "vocab_size": len(tokenizer) + 16, **special, **extra})
    torch.manual_seed(0)
    auto: Any = AutoModelForSequenceClassification
    auto.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chats(longest: int) -> list[Encoding]:
    """Two groups on shared prompts and others, up to `longest` tokens."""
    rng = np.random.default_rng(1)
    found = []
    for prompt_len, own in ((40, (3, 20)), (20, (5, 9))):
        prompt = rng.integers(0, 250, prompt_len, dtype=np.int32)
        for n in own:
            ids = np.concatenate([prompt, rng.integers(0, 250, n, dtype=np.int32)])
            found.append(Encoding(ids, prompt_len))
    found += [Encoding(rng.integers(0, 250, n, dtype=np.int32)) for n in (longest, 1, 17)]
    return found


def plain_rewards(folder: Path, encodings: list[Encoding]) -> list[float]:
    """transformers, one chat at a time, by a model that has met no other chat."""
    auto: Any = AutoModelForSequenceClassification
    rewards = []
    loaded = auto.from_pretrained(folder, dtype=torch.float32).eval()
    for encoding in encodings:
        module = copy.deepcopy(loaded)
        ids = torch.from_numpy(encoding.input_ids).long()[None]
        with torch.inference_mode():
            rewards.append(float(module(input_ids=ids, use_cache=False).logits[0, 0]))
    return rewards
