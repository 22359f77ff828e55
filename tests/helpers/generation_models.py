"""Tiny random models of every architecture that torpor generates with, saved to folders and loaded as ``hf:FOLDER``."""

from __future__ import annotations

import copy
import functools
import importlib
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from torpor.core.batches import Samples
from torpor.targets.decoder.generation.target import GenerationTarget
from torpor.targets.resolve import load_target

KINDS = ("gpt2", "llama", "t5", "marian", "captioner", "whisper")
TEXTS = ("gpt2", "llama", "t5", "marian")
PAD, BOS, EOS, UNKNOWN = 0, 1, 2, 3
CAP = 24
LOUDNESS = {"gpt2": 8.0, "llama": 4.0, "t5": 1.0, "marian": 4.0, "captioner": 3.0, "whisper": 3.0}
"""How loud the end token is, so that it occurs."""
SIDE, SOUND = 16, 16_000  # pixels per side; samples
Part = Any
"""One of transformers' objects."""
Setting = Any
"""A value in a generation config."""
_FOLDER = tempfile.TemporaryDirectory()
_SPECIAL = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "tie_word_embeddings": False}
_PROSE = "the cat sat on the mat and the dog went to the cat while it rained on the mat. " * 4


def hub() -> Part:
    """Import transformers late, and without its types."""
    return importlib.import_module("transformers")


@functools.cache
def tokenizer(*, ends: bool) -> Part:
    """Train a byte-level tokenizer; it ends texts with the end token, or begins them with the first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([_PROSE], trainer)
    single = "$A </s>" if ends else "<s> $A"
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=None, special_tokens=[(token, backend.token_to_id(token)) for token in special]
    )
    return hub().PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=64,
    )


def network(kind: str, seed: int = 0) -> Part:
    """Build a random model that ends its outputs at varied lengths, deployed greedily with ``CAP`` tokens at most."""
    hf = hub()

    torch.manual_seed(seed)
    size = len(tokenizer(ends=True))
    marian = {
        "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "init_std": 0.4,
        "decoder_start_token_id": BOS, "dropout": 0.1,
    }  # fmt: skip
    gpt2 = {
        "vocab_size": size, "n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.4,
    }  # fmt: skip
    model: Part
    if kind == "gpt2":
        model = hf.GPT2LMHeadModel(hf.GPT2Config(**gpt2, **_SPECIAL))
    elif kind == "llama":
        model = hf.LlamaForCausalLM(
            hf.LlamaConfig(
                vocab_size=size,
                max_position_embeddings=128,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                initializer_range=0.4,
                **_SPECIAL,
            )
        )
    elif kind == "t5":
        model = hf.T5ForConditionalGeneration(
            hf.T5Config(
                vocab_size=size,
                d_model=32,
                d_kv=8,
                d_ff=48,
                num_layers=2,
                num_heads=4,
                decoder_start_token_id=PAD,
                **_SPECIAL,
            )
        )
    elif kind == "marian":
        model = hf.MarianMTModel(
            hf.MarianConfig(
                vocab_size=size,
                max_position_embeddings=64,
                scale_embedding=True,
                forced_eos_token_id=None,
                **marian,
                **_SPECIAL,
            )
        )
    elif kind == "captioner":
        encoder = hf.ViTModel(
            hf.ViTConfig(
                image_size=SIDE,
                patch_size=8,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=48,
                initializer_range=0.3,
            )
        )
        decoder = hf.GPT2LMHeadModel(hf.GPT2Config(**gpt2, **_SPECIAL, add_cross_attention=True, is_decoder=True))
        model = hf.VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    else:
        model = hf.WhisperForConditionalGeneration(
            hf.WhisperConfig(
                vocab_size=size,
                num_mel_bins=16,
                max_source_positions=50,
                max_target_positions=64,
                suppress_tokens=None,
                begin_suppress_tokens=None,
                **marian,
                **_SPECIAL,
            )
        )
    start = PAD if kind == "t5" else BOS
    model.generation_config = hf.GenerationConfig(
        max_new_tokens=CAP,
        decoder_start_token_id=start if model.config.is_encoder_decoder else None,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    with torch.no_grad():
        model.get_output_embeddings().weight[EOS] *= LOUDNESS[kind]
    if kind in ("marian", "t5"):  # else they say one thing over and over
        model.generation_config.no_repeat_ngram_size = 1
    if kind == "t5":
        model.generation_config.eos_token_id = [EOS, *range(20, 40)]
    return model


def _processor(kind: str) -> Part:
    hf = hub()

    if kind == "captioner":
        return hf.ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    return hf.WhisperFeatureExtractor(feature_size=16, chunk_length=1)


@functools.cache
def folder(kind: str) -> Path:
    """Save a model with all that belongs to it."""
    path = Path(_FOLDER.name) / kind
    network(kind).save_pretrained(path)
    tokenizer(ends=kind in ("t5", "marian")).save_pretrained(path)
    if kind not in TEXTS:
        _processor(kind).save_pretrained(path)
    return path


@functools.cache
def loaded(kind: str) -> GenerationTarget:
    """Return the target as users load it."""
    target = load_target(f"hf:{folder(kind)}")
    assert isinstance(target, GenerationTarget)
    return target


def sentences(count: int, seed: int = 0) -> tuple[str, ...]:
    """Return texts of varied lengths that share a beginning."""
    words = _PROSE.replace(".", "").split()
    draw = torch.Generator().manual_seed(seed)
    picked = [torch.randint(len(words), (1 + number % 5,), generator=draw).tolist() for number in range(count)]
    return tuple(" ".join(["the dog", *(words[place] for place in places)]) for places in picked)


def examples(kind: str, count: int, seed: int = 0) -> Samples:
    """Return inputs for a model of this kind."""
    draw = torch.Generator().manual_seed(seed)
    if kind == "captioner":
        return (torch.rand(count, 3, SIDE, SIDE, generator=draw) * 255).round() / 255
    if kind == "whisper":
        loud = torch.linspace(0.02, 0.9, count).unsqueeze(1)
        return ((torch.rand(count, SOUND, generator=draw) * 2 - 1) * loud * 32768).round() / 32768
    return sentences(count, seed)


def by_transformers(target: GenerationTarget, sample: Samples) -> list[int]:
    """Return what ``model.generate`` itself generates for a batch of one, without padding and start."""
    kind = target.model.config.model_type
    if isinstance(sample, tuple):
        given = dict(target.codec.tokenizer(sample[0], return_tensors="pt"))
        given = {name: given[name] for name in ("input_ids", "attention_mask")}
        start = 1 if target.model.config.is_encoder_decoder else given["input_ids"].shape[1]
    else:
        given, start = target.reader(sample), 0 if kind == "whisper" else 1  # type: ignore[attr-defined]
    return list(target.model.generate(**given)[0, start:].tolist())


def changed(kind: str, **settings: Setting) -> GenerationTarget:
    """Return the target of the same saved model with other settings in its generation config."""
    target = loaded(kind)
    model = copy.copy(target.model)
    model.generation_config = copy.deepcopy(target.config)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    return again(target, kind, model)


def again(target: GenerationTarget, kind: str, model: Part) -> GenerationTarget:
    """Return a target of another model with the tokenizer and the processor of ``target``."""
    from torpor.targets import from_transformers

    parts = SimpleNamespace(tokenizer=target.codec.tokenizer)
    if kind not in TEXTS:
        setattr(parts, "image_processor" if kind == "captioner" else "feature_extractor", _processor(kind))
    return from_transformers(model, parts, name=kind)


def random_decoder(kind: str, seed: int = 0, **settings: Setting) -> Part:
    """Build a random language model of transformers' class ``kind``, whose outputs vary; greedy, ``CAP`` tokens."""
    torch.manual_seed(seed)
    hf = hub()
    model = getattr(hf, f"{kind}ForCausalLM")(getattr(hf, f"{kind}Config")(**settings)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape) * 0.3)
    model.generation_config = hf.GenerationConfig(max_new_tokens=CAP, eos_token_id=EOS, pad_token_id=PAD)
    return model
