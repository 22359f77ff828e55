"""Architectures of the zoo's language models: Hugging Face's own classes, small, with how they are to be decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from torpor.zoo.language.tokenizer import MOST_TOKENS

if TYPE_CHECKING:
    from transformers import (
        GenerationConfig,
        LlamaForCausalLM,
        MarianMTModel,
        MixtralForCausalLM,
        PreTrainedTokenizerFast,
    )

    LanguageModel = LlamaForCausalLM | MarianMTModel | MixtralForCausalLM

Builder = Callable[["PreTrainedTokenizerFast", float], "LanguageModel"]
"""Makes an untrained model from its tokenizer and a dropout rate."""


def decoding(tokenizer: PreTrainedTokenizerFast, cap: int) -> GenerationConfig:
    """Return the deployed decoding: greedy, at most ``cap`` new tokens, nothing forced at the cap.

    A forced end token would make a text that was cut off look as if it had ended.
    """
    from transformers import GenerationConfig

    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=cap,
        do_sample=False,
        num_beams=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
    )


def translator(tokenizer: PreTrainedTokenizerFast, dropout: float) -> MarianMTModel:
    """Build the translator: 3 + 3 layers of width 256, one embedding for both sides, at most 128 tokens."""
    return encoder_decoder(tokenizer, dropout, width=256, layers=3, heads=4, inner=1024, cap=128)


def speller(tokenizer: PreTrainedTokenizerFast, dropout: float) -> MarianMTModel:
    """Build the speller: 2 + 2 layers of width 96, at most 160 tokens (bytes)."""
    return encoder_decoder(tokenizer, dropout, width=96, layers=2, heads=4, inner=256, cap=160)


def language_model(tokenizer: PreTrainedTokenizerFast, dropout: float) -> LlamaForCausalLM:
    """Build the language model: 4 layers of width 256, tied embeddings, at most 96 tokens."""
    return decoder_only(tokenizer, dropout, width=256, layers=4, heads=4, inner=704, cap=96)


def drafter(tokenizer: PreTrainedTokenizerFast, dropout: float) -> LlamaForCausalLM:
    """Build what drafts for the language model: 1 layer of width 128, a sixth of its work per token."""
    return decoder_only(tokenizer, dropout, width=128, layers=1, heads=4, inner=352, cap=96)


def encoder_decoder(
    tokenizer: PreTrainedTokenizerFast, dropout: float, *, width: int, layers: int, heads: int, inner: int, cap: int
) -> MarianMTModel:
    """Build an untrained Marian: the original Transformer (Vaswani et al., NeurIPS 2017), with sinusoidal positions."""
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MOST_TOKENS,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        activation_function="relu",
        dropout=dropout,
        scale_embedding=True,
        init_std=width**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=None,
    )
    model = MarianMTModel(config)
    model.generation_config = decoding(tokenizer, cap)
    return model


def decoder_only(
    tokenizer: PreTrainedTokenizerFast, dropout: float, *, width: int, layers: int, heads: int, inner: int, cap: int
) -> LlamaForCausalLM:
    """Build an untrained Llama (rotary positions, RMS norm, SwiGLU).

    Llama itself knows no dropout, so while it trains, hooks drop from the embeddings and from what each block adds.
    They are not part of the saved model.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MOST_TOKENS,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        initializer_range=0.02,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = decoding(tokenizer, cap)

    def drop(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return F.dropout(output, dropout, module.training)

    for name, module in model.named_modules():
        if name.endswith(("embed_tokens", "o_proj", "down_proj")):
            module.register_forward_hook(drop)
    return model


def mixture(tokenizer: PreTrainedTokenizerFast, dropout: float) -> MixtralForCausalLM:
    """Build an untrained Mixtral: 3 layers of width 96 with 8 experts each, of which a token takes 2; tied embeddings.

    Args:
        tokenizer: of its texts.
        dropout: of the attention's weights, while it trains.
    """
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MOST_TOKENS,
        hidden_size=96,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_local_experts=8,
        num_experts_per_tok=2,
        tie_word_embeddings=True,
        attention_dropout=dropout,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return MixtralForCausalLM(config)
