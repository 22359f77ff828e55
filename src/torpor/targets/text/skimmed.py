"""What the layers of an encoder keep, tokens that have left computed without effect: for gradients, and to train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torpor.targets.tokens.dense import attention, straight_through
from torpor.targets.tokens.module import layers_of


class Skimmed(NamedTuple):
    """What every layer kept of texts with as many tokens each, differentiably.

    Attributes:
        scores: of the classes, ``[B, C]``.
        logits: of every token but the first, ``[B, L, N - 1]``; those of what has left stay as they were then.
        alive: 1 or 0, straight-through, ``[B, L, N]``.
        soft: the same by degrees, ``[B, L, N]``.
    """

    scores: Tensor
    logits: Tensor
    alive: Tensor
    soft: Tensor


def skimmed(module: Any, vectors: Tensor, noise: Callable[[Tensor], Tensor] | None = None) -> Skimmed:  # noqa: ANN401
    """Compute all tokens in every layer, those that have left without effect.

    Args:
        module: a :class:`~torpor.targets.text.skimming.SkimmingModule`.
        vectors: of words, ``[B, N, E]``.
        noise: changes logits before they are compared with 0, in training.
    """
    tokens = module.enter(vectors)
    alive = soft = tokens.new_ones(tokens.shape[:2])
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for layer, skim in zip(layers_of(module), module.skims, strict=True):
        logits = skim(tokens[:, 1:]).squeeze(-1)
        logits = logits if noise is None else noise(logits)
        if found:
            logits = torch.where(alive[:, 1:].detach() > 0, logits, found[-1][0])
        own = logits.sigmoid()
        stays = straight_through((logits.detach() > 0) & (alive[:, 1:].detach() > 0), own * alive[:, 1:])
        alive = torch.cat([alive[:, :1], stays], 1)
        soft = torch.cat([soft[:, :1], soft[:, 1:] * own], 1)
        found.append((logits, alive, soft))
        tokens = tokens + alive[..., None] * attention(layer, tokens, alive).added
        tokens = tokens + alive[..., None] * layer.perceptron(tokens)
    return Skimmed(module.head(tokens), *(torch.stack(each, 1) for each in zip(*found, strict=True)))
