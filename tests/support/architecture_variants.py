"""Architecture variants: the small random models of the architecture matrix, by name.

Each is a config class of transformers and what differs from SMALL. Windows, rope scaling and
soft-caps are set so that the matrix' chats reach beyond them.
"""

from __future__ import annotations

from typing import Any

Variant = tuple[str, dict[str, Any]]
"""Config class of transformers, and its arguments beside SMALL."""

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
}
HEAD = {"head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
DEEPSEEK = {
    **LATENT,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
GPT_OSS = {**HEAD, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 32}
LINEAR = {
    **HEAD,
    **EXPERTS,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "shared_expert_intermediate_size": 16,
    "layer_types": ["linear_attention", "full_attention"],
}
JAMBA = {
    "num_experts": 2,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "mamba_d_state": 4,
    "use_mamba_kernels": False,
}
VISION = {**SMALL, "image_size": 16, "patch_size": 8}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"]}


def _rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


LLAMA31 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {
    **_rope(
        "longrope",
        short_factor=[1.0] * 4,
        long_factor=[4.0] * 4,
        original_max_position_embeddings=48,
    ),
    "original_max_position_embeddings": 48,
}

LLAMA_LIKE: dict[str, Variant] = {
    "llama": ("LlamaConfig", {}),
    "llama_bias": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True}),
    "llama_rope_llama3": ("LlamaConfig", _rope("llama3", factor=8.0, **LLAMA31)),
    "llama_rope_linear": ("LlamaConfig", _rope("linear", factor=4.0)),
    "llama_rope_yarn": (
        "LlamaConfig",
        _rope("yarn", factor=4.0, original_max_position_embeddings=64),
    ),
    "llama_rope_dynamic": (
        "LlamaConfig",
        {**_rope("dynamic", factor=4.0), "max_position_embeddings": 64},
    ),
    "arcee": ("ArceeConfig", {}),
    "mistral": ("MistralConfig", {}),
    "mistral_no_window": ("MistralConfig", {"sliding_window": None}),
    "mistral_window": ("MistralConfig", {"sliding_window": 32}),
    "ministral": ("MinistralConfig", HEAD),
    "ministral_window": ("MinistralConfig", {**HEAD, **ALTERNATING, "sliding_window": 32}),
    "ministral3": ("Ministral3Config", HEAD),
    "qwen2": ("Qwen2Config", {}),
    "qwen2_window": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1},
    ),
    "qwen2_yarn": ("Qwen2Config", _rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    "qwen3": ("Qwen3Config", HEAD),
    "qwen3_window": (
        "Qwen3Config",
        {**HEAD, "use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1},
    ),
    "seed_oss": ("SeedOssConfig", HEAD),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0]}),
    "diffllama": ("DiffLlamaConfig", {}),
    "exaone4": ("Exaone4Config", {**ALTERNATING, "sliding_window": 32}),
    "helium": ("HeliumConfig", HEAD),
    "hunyuan_v1_dense": ("HunYuanDenseV1Config", HEAD),
    "olmo": ("OlmoConfig", {}),
    "olmo2": ("Olmo2Config", {}),
    "olmo3": ("Olmo3Config", {**ALTERNATING, "sliding_window": 32}),
    "olmo3_long_window": ("Olmo3Config", ALTERNATING),
    "glm": ("GlmConfig", HEAD),
    "glm4": ("Glm4Config", HEAD),
}
GEMMA_AND_PHI: dict[str, Variant] = {
    "gemma": ("GemmaConfig", HEAD),
    "gemma2": (
        "Gemma2Config",
        {**HEAD, "sliding_window": 32, "attn_logit_softcapping": 0.5},
    ),
    "gemma2_long_window": ("Gemma2Config", HEAD),
    "gemma2_no_softcap": (
        "Gemma2Config",
        {**HEAD, "attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    "gemma3": ("Gemma3TextConfig", {**HEAD, **ALTERNATING, "sliding_window": 32}),
    "gemma3_long_window": ("Gemma3TextConfig", {**HEAD, **ALTERNATING}),
    "gemma3_bidirectional": ("Gemma3TextConfig", {**HEAD, "use_bidirectional_attention": True}),
    "gemma3_with_vision": (
        "Gemma3Config",
        {
            "text_config": {**HEAD, **ALTERNATING, "sliding_window": 32},
            "vision_config": VISION,
        },
    ),
    "phi": ("PhiConfig", {}),
    "phi3": ("Phi3Config", {}),
    "phi3_window": ("Phi3Config", {"sliding_window": 32}),
    "phi3_long_window": ("Phi3Config", {"sliding_window": 4096}),
    "phi3_longrope": ("Phi3Config", LONGROPE),
    "starcoder2": ("Starcoder2Config", {}),
    "starcoder2_window": ("Starcoder2Config", {"sliding_window": 32}),
    "persimmon": ("PersimmonConfig", {}),
    "nemotron": ("NemotronConfig", {}),
    "stablelm": ("StableLmConfig", {}),
}
WITH_EXPERTS: dict[str, Variant] = {
    "axk1": ("AXK1Config", DEEPSEEK),
    "axk2": ("AXK2Config", DEEPSEEK),
    "deepseek_v2": ("DeepseekV2Config", {**DEEPSEEK, "head_dim": 8}),
    "deepseek_v3": ("DeepseekV3Config", DEEPSEEK),
    "doge": ("DogeConfig", {}),
    "gpt_oss": ("GptOssConfig", GPT_OSS),
    "gpt_oss_long_window": ("GptOssConfig", {**GPT_OSS, "sliding_window": 4096}),
    "hunyuan_v1_moe": ("HunYuanMoEV1Config", {**HEAD, "num_experts": 4, "moe_topk": 2}),
    "jetmoe": (
        "JetMoeConfig",
        {"kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "minicpm3": ("MiniCPM3Config", LATENT),
    "mistral4": ("Mistral4Config", DEEPSEEK),
    "mixtral": ("MixtralConfig", {}),
    "mixtral_window": ("MixtralConfig", {"sliding_window": 32}),
    "phimoe": ("PhimoeConfig", {"num_local_experts": 4}),
    "qwen2_moe": ("Qwen2MoeConfig", {**EXPERTS, "shared_expert_intermediate_size": 16}),
    "qwen2_moe_window": (
        "Qwen2MoeConfig",
        {
            **EXPERTS,
            "shared_expert_intermediate_size": 16,
            "use_sliding_window": True,
            "sliding_window": 32,
            "max_window_layers": 1,
        },
    ),
    "qwen3_moe": ("Qwen3MoeConfig", {**HEAD, **EXPERTS}),
}
RECURRENT: dict[str, Variant] = {
    "jamba": ("JambaConfig", JAMBA),
    "minimax": (
        "MiniMaxConfig",
        {
            **HEAD,
            "num_local_experts": 4,
            "layer_types": ["linear_attention", "full_attention"],
            "block_size": 16,
        },
    ),
    "qwen3_5_text": ("Qwen3_5TextConfig", LINEAR),
    "qwen3_5_with_vision": ("Qwen3_5Config", {"text_config": LINEAR, "vision_config": VISION}),
    "qwen3_next": ("Qwen3NextConfig", LINEAR),
    "zamba": (
        "ZambaConfig",
        {
            "attention_hidden_size": 64,
            "attention_head_dim": 16,
            "num_key_value_heads": 4,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
            "num_hidden_layers": 4,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        },
    ),
    "zamba2": (
        "Zamba2Config",
        {
            "num_key_value_heads": 4,
            "mamba_d_state": 4,
            "mamba_ngroups": 1,
            "n_mamba_heads": 8,
            "mamba_headdim": 8,
            "use_mamba_kernels": False,
            "layers_block_type": ["mamba", "hybrid"],
        },
    ),
}
LEARNED_POSITIONS_OR_ALIBI: dict[str, Variant] = {
    "biogpt": ("BioGptConfig", {}),
    "bloom": ("BloomConfig", {"n_head": 4, "n_layer": 2}),
    "falcon": ("FalconConfig", {}),
    "falcon_alibi": ("FalconConfig", {"alibi": True}),
    "falcon_new": ("FalconConfig", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "gpt2": ("GPT2Config", {}),
    "gpt_bigcode": ("GPTBigCodeConfig", {}),
    "gpt_neo": ("GPTNeoConfig", {"num_layers": 2, "attention_types": [[["global"], 2]]}),
    "gpt_neo_local": (
        "GPTNeoConfig",
        {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 32},
    ),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gptj": ("GPTJConfig", {"n_embd": 32, "n_head": 4, "n_layer": 2, "rotary_dim": 4}),
    "mpt": ("MptConfig", {"d_model": 32, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2}),
    "openai_gpt": ("OpenAIGPTConfig", {"n_positions": 256}),
    "opt": ("OPTConfig", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "opt_post_norm": (
        "OPTConfig",
        {"ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
}
NO_DECODERS: dict[str, Variant] = {
    "albert": ("AlbertConfig", {"embedding_size": 32}),
    "bert": ("BertConfig", {}),
    "ctrl": ("CTRLConfig", {"n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4}),
    "deberta_v2": ("DebertaV2Config", {}),
    "distilbert": ("DistilBertConfig", {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}),
    "electra": ("ElectraConfig", {"embedding_size": 32}),
    "eurobert": ("EuroBertConfig", {}),
    "modernbert": ("ModernBertConfig", {}),
    "modernbert_decoder": ("ModernBertDecoderConfig", {}),
    "mt5": ("MT5Config", {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}),
    "roberta": ("RobertaConfig", {"max_position_embeddings": 300}),
    "t5": ("T5Config", {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}),
    "xlm_roberta": ("XLMRobertaConfig", {"max_position_embeddings": 300}),
}
GROUPS: dict[str, dict[str, Variant]] = {
    "Llama and its like": LLAMA_LIKE,
    "Gemma, Phi and others with rotary positions": GEMMA_AND_PHI,
    "Mixtures of experts, latent attention": WITH_EXPERTS,
    "Linear attention and state spaces": RECURRENT,
    "Learned positions, ALiBi, older decoders": LEARNED_POSITIONS_OR_ALIBI,
    "Encoders and encoder-decoders": NO_DECODERS,
}
VARIANTS: dict[str, Variant] = {
    name: variant for group in GROUPS.values() for name, variant in group.items()
}
QUICK = (
    "llama",
    "llama_rope_dynamic",
    "qwen2",
    "mistral_window",
    "gemma2",
    "gemma3_with_vision",
    "gpt_oss",
    "deepseek_v3",
    "jetmoe",
    "phi3_longrope",
    "falcon",
    "gpt_neo_local",
    "gptj",
    "nemotron",
    "qwen3_next",
    "bert",
)
"""Those that the test suite holds to the page."""
