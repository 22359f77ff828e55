"""Tiny random decoders whose layers look at different keys, and an independent count of what they compute."""

from __future__ import annotations

import copy
import functools

import torch
from generation_models import BOS, EOS, PAD, Setting, hub, tokenizer
from torch.utils.flop_counter import FlopCounterMode

from torpor.targets import from_transformers
from torpor.targets.decoder.generation.target import GenerationTarget

WINDOW = 6
_BASE = {
    "vocab_size": 280, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 48, "pad_token_id": PAD, "bos_token_id": BOS,
    "eos_token_id": EOS,
}  # fmt: skip
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_MIXED = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
_LATENT = {
    "num_key_value_heads": 2, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
    "v_head_dim": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1,
    "moe_intermediate_size": 16, "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
_LONG = {
    "original_max_position_embeddings": 12,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 12,
    },
}  # fmt: skip
CONFIGS: dict[str, tuple[str, dict[str, Setting]]] = {
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": WINDOW}),
    "mistral, window of 1": ("Mistral", {"sliding_window": 1}),
    "mistral, window of 2": ("Mistral", {"sliding_window": 2}),
    "mistral, window out of reach": ("Mistral", {"sliding_window": 64}),
    "gemma2": ("Gemma2", {"head_dim": 8, "sliding_window": WINDOW}),
    "gemma3": ("Gemma3", {"head_dim": 8, "sliding_window": WINDOW, "sliding_window_pattern": 3}),
    "cohere2": ("Cohere2", {"sliding_window": WINDOW}),
    "qwen2": ("Qwen2", _MIXED),
    "qwen3": ("Qwen3", {"head_dim": 8, **_MIXED}),
    "gpt-oss": ("GptOss", {"head_dim": 8, "sliding_window": WINDOW, **_EXPERTS}),
    "llama4": ("Llama4", {
        "head_dim": 8, "attention_chunk_size": WINDOW, "intermediate_size_mlp": 24, "num_local_experts": 4,
        "num_experts_per_tok": 1,
    }),
    "mixtral": ("Mixtral", _EXPERTS),
    "qwen3-moe": ("Qwen3Moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
    "deepseek-v3": ("DeepseekV3", _LATENT),
    "falcon, alibi": ("Falcon", {"alibi": True}),
    "phi3, longrope": ("Phi3", _LONG),
    "recurrentgemma": ("RecurrentGemma", {
        "lru_width": 16, "attention_window_size": WINDOW, "block_types": ["recurrent", "attention"],
    }),
}  # fmt: skip


@functools.cache
def windowed(kind: str, **settings: Setting) -> GenerationTarget:
    """Return a target, the same each time; ``settings`` are those of its generation config."""
    hf, (family, own) = hub(), CONFIGS[kind]
    torch.manual_seed(0)
    text = f"{family}Text" if family in ("Gemma3", "Llama4") else family
    model = getattr(hf, f"{family}ForCausalLM")(getattr(hf, f"{text}Config")(**{**_BASE, **own})).eval()
    for name, value in {"max_new_tokens": 12, "eos_token_id": EOS, "pad_token_id": PAD, **settings}.items():
        setattr(model.generation_config, name, value)
    return from_transformers(model, tokenizer(ends=False), name=kind)


def counted(target: GenerationTarget, text: str, steps: int) -> int:
    """Return what torch counts while transformers itself generates ``steps`` tokens, by attention of plain products."""
    model = copy.deepcopy(target.model)
    model.set_attn_implementation("eager")
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    given = target.codec.tokenizer(text, return_tensors="pt")
    with FlopCounterMode(display=False) as found, torch.no_grad():
        model.generate(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=steps,
            min_new_tokens=steps,
        )  # fmt: skip
    return int(found.get_total_flops())
