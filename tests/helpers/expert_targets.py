"""A small random Mixtral on the tokenizer of other tests, its experts on several devices, and texts for it."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from generation_models import sentences

from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.experts.adapter import expert_parallel
from torpor.targets.experts.batch import ExpertBatchTarget
from torpor.targets.experts.dispatch import ExpertModel
from torpor.targets.experts.loads import Placement
from torpor.targets.experts.target import ExpertTarget
from torpor.zoo.language.tokenizer import train_tokenizer

TEXTS = (*sentences(6, seed=2), "the dog the cat sat on the mat and the dog the cat")
EXPERTS, CHOSEN, LAYERS = 8, 2, 2


@cache
def tokenizer() -> Any:  # noqa: ANN401
    """Return a tokenizer of a few words."""
    pytest.importorskip("transformers")
    return train_tokenizer(list(TEXTS) * 3, 300, "decoder-only")


@cache
def mixtral(sliding_window: int | None = None) -> Any:  # noqa: ANN401
    """Return the model as transformers builds it."""
    transformers: Any = pytest.importorskip("transformers")
    torch.manual_seed(7)
    config = transformers.MixtralConfig(
        vocab_size=len(tokenizer()),
        hidden_size=16,
        intermediate_size=12,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=EXPERTS,
        num_experts_per_tok=CHOSEN,
        max_position_embeddings=96,
        initializer_range=0.4,
        sliding_window=sliding_window,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return transformers.MixtralForCausalLM(config).eval()


def experts(devices: int = EXPERTS) -> ExpertTarget:
    """Return its target."""
    return expert_parallel(copy.deepcopy(mixtral()), tokenizer(), devices=devices, longest=48, name="toy-experts")


def batched(capacity: int = 125) -> ExpertBatchTarget:
    """Return a batch of it with three neighbors."""
    return ExpertBatchTarget(
        ExpertModel(copy.deepcopy(mixtral())),
        HuggingFaceCodec(tokenizer()),
        Placement(EXPERTS, CHOSEN, EXPERTS, capacity=capacity),
        TEXTS[:3],
        longest=48,
        name="toy-batch",
    )
