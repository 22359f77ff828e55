"""The zoo's speech recognizer: Whisper (Radford et al., ICML 2023), small, with how it is to be decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torpor.data.speech import RATE, SECONDS
from torpor.zoo.language.architectures import decoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor, WhisperForConditionalGeneration

Builder = Callable[["PreTrainedTokenizerFast", float], "WhisperForConditionalGeneration"]
"""Makes an untrained model from its tokenizer and a dropout rate."""

BANDS = 40
"""Mel bands of the spectrogram."""
HOP = RATE // 50
"""Samples from one frame of the spectrogram to the next: 20 ms, twice as much as for the large models."""
CAP = 60
"""Tokens of a transcript at most. The longest true one, "three seven three eight" and the like, has 24 with the end."""


def feature_extractor() -> WhisperFeatureExtractor:
    """Return what turns an utterance into a spectrogram ``[40, 150]``."""
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor(  # type: ignore[no-untyped-call]
        feature_size=BANDS, sampling_rate=RATE, hop_length=HOP, chunk_length=SECONDS, n_fft=RATE // 32
    )


def recognizer(tokenizer: PreTrainedTokenizerFast, dropout: float) -> WhisperForConditionalGeneration:
    """Build the recognizer of digits: 3 + 2 layers of width 96, at most 60 tokens (bytes)."""
    return whisper(tokenizer, dropout, width=96, layers=(3, 2), heads=4, inner=256, cap=CAP)


def whisper(
    tokenizer: PreTrainedTokenizerFast,
    dropout: float,
    *,
    width: int,
    layers: tuple[int, int],
    heads: int,
    inner: int,
    cap: int,
) -> WhisperForConditionalGeneration:
    """Build an untrained Whisper for the spectrograms of :func:`feature_extractor`: one language, one task, no times.

    Args:
        tokenizer: of the transcripts.
        dropout: of embeddings and of what each block adds.
        width: of both sides.
        layers: of encoder and decoder.
        heads: of each attention.
        inner: width between a block's two linear layers.
        cap: tokens of a transcript at most.
    """
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=BANDS,
        d_model=width,
        encoder_layers=layers[0],
        decoder_layers=layers[1],
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        max_source_positions=RATE * SECONDS // HOP // 2,
        max_target_positions=4 * cap + 1,  # reports tell what four times the cap would let through
        dropout=dropout,
        init_std=width**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    model.model.encoder.embed_positions.requires_grad_(True)  # only what is trained is saved
    model.generation_config = decoding(tokenizer, cap)
    return model
