"""Byte-level tokenizers trained from scratch: any text survives, and no text can smuggle in a special token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from torpor.core.errors import DataError, UsageError
from torpor.data.sets import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Kind = Literal["encoder-decoder", "decoder-only"]
SPECIAL = ("<pad>", "<s>", "</s>")  # ids 0, 1, 2
Pair = tuple[list[int], list[int]]  # tokens of the source (none for a decoder-only model) and of the target
BYTES_ONLY = 256 + len(SPECIAL)
MOST_TOKENS = 512  # of a text that a model of the zoo reads


def train_tokenizer(texts: Iterable[str], vocab_size: int, kind: Kind) -> PreTrainedTokenizerFast:
    """Learn a byte-level byte-pair encoding (Sennrich et al., ACL 2016); the same texts always give the same one.

    The id of padding differs from that of the end. ``</s>`` and the like inside a text are read as plain characters.
    An encoder-decoder's texts end with the end token; a decoder-only model's start with ``<s>`` and are padded on the
    left, ready to be continued.

    Args:
        texts: to count pairs in.
        vocab_size: number of tokens; 259 gives one token per byte and three special ones.
        kind: of the model that reads the texts.

    Raises:
        UsageError: if the vocabulary cannot hold every byte.

    >>> tokenizer = train_tokenizer([], BYTES_ONLY, "encoder-decoder")
    >>> tokenizer.decode(tokenizer("naïve </s>").input_ids, skip_special_tokens=True)
    'naïve </s>'
    """
    if vocab_size < BYTES_ONLY:
        raise UsageError(f"expected a vocabulary of {BYTES_ONLY} tokens or more, got {vocab_size}; bytes need one each")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    pad, bos, eos = SPECIAL
    around = "$A </s>" if kind == "encoder-decoder" else "<s> $A"
    numbers = [(token, backend.token_to_id(token)) for token in SPECIAL]
    backend.post_processor = processors.TemplateProcessing(single=around, pair=None, special_tokens=numbers)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=MOST_TOKENS,
        padding_side="right" if kind == "encoder-decoder" else "left",
    )


def whole(samples: Batch) -> list[str]:
    """Return inputs with their continuations, if they have any."""
    return ["".join(parts) for parts in zip(*filter(None, (samples.inputs, samples.references)), strict=True)]


def encode(tokenizer: PreTrainedTokenizerFast, samples: Batch, encoder_decoder: bool) -> list[Pair]:
    """Turn texts into tokens; a decoder-only model's target is the input with its continuation.

    Raises:
        DataError: if references are missing, or a text is longer than a model can read.
    """
    if encoder_decoder and not samples.references:
        raise DataError("expected a reference for every text, got none; name the column that holds them")
    targets = samples.references if encoder_decoder else whole(samples)
    answers = tokenizer(list(targets), add_special_tokens=False).input_ids
    sources = tokenizer(list(samples.inputs)).input_ids if encoder_decoder else [[] for _ in answers]
    longest = max(max(len(source), len(answer) + 1) for source, answer in zip(sources, answers, strict=True))
    if longest > tokenizer.model_max_length:
        raise DataError(f"expected texts of {tokenizer.model_max_length} tokens or less, got {longest}; shorten them")
    return list(zip(sources, answers, strict=True))
