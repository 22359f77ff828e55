"""Speculative decoding of tiny random models: a llama, and a copy of it with some noise that drafts for it."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from generation_models import again, hub, loaded

from torpor.targets.decoder.exiting.target import ExitingTarget
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.decoder.speculative.target import SpeculativeTarget
from torpor.zoo.networks.exit_heads import ExitHeads

NOISE = 0.04
"""Of the drafter's weights: so much that it is right about half of the time."""


def language_model(kind: str = "llama") -> PromptTarget:
    """Return a tiny model that continues texts."""
    target = loaded(kind)
    assert isinstance(target, PromptTarget)
    return target


@functools.cache
def noisy(target: PromptTarget, kind: str = "llama", noise: float = NOISE) -> PromptTarget:
    """Return the same model with noise in all of its weights."""
    model: Any = hub().AutoModelForCausalLM.from_config(target.model.config)
    model.load_state_dict(target.model.state_dict())
    model.generation_config = copy.deepcopy(target.config)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += noise * torch.randn(weight.shape, generator=draw)
    found = again(target, kind, model)
    assert isinstance(found, PromptTarget)
    return found


@functools.cache
def drafting(kind: str = "llama", drafts: int = 3, noise: float = NOISE) -> SpeculativeTarget:
    """Return a model, and a noisy copy of it that drafts."""
    large = language_model(kind)
    return SpeculativeTarget(large, noisy(large, kind, noise), drafts=drafts, name=f"drafts-{kind}")


@functools.cache
def looking_up(kind: str = "llama", drafts: int = 3) -> SpeculativeTarget:
    """Return a model whose tokens are looked up in the text so far."""
    return SpeculativeTarget(language_model(kind), None, drafts=drafts, name=f"look-up-{kind}")


@functools.cache
def exiting(sure: float = 0.5) -> ExitingTarget:
    """Return a model whose tokens leave early, by exits that are drawn at random."""
    large = language_model()
    torch.manual_seed(0)
    heads = ExitHeads(large.model.config.hidden_size, large.model.config.num_hidden_layers - 1)
    return ExitingTarget(large, heads, sure=sure, name="exits-llama")
