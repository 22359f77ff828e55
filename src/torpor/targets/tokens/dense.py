"""A layer of a transformer on all tokens, those that have left without effect: for gradients, not for serving."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torpor.targets.tokens.module import TransformerLayer


class Mixed(NamedTuple):
    """What attention found.

    Attributes:
        added: to the tokens, ``[B, N, D]``.
        weights: of each key for each query, ``[B, H, N, N]``.
        values: ``[B, H, N, D / H]``.
    """

    added: Tensor
    weights: Tensor
    values: Tensor


def attention(layer: TransformerLayer, tokens: Tensor, alive: Tensor, heads: Tensor | None = None) -> Mixed:
    """Let ``tokens`` ``[B, N, D]`` look at those alone that are alive.

    Args:
        layer: whose attention.
        tokens: all of them.
        alive: 1 or 0 for each, ``[B, N]``; at least one is 1. Its gradient is that of a weight.
        heads: 1 or 0 for each head, ``[B, H]``; all if None.
    """
    query, key, values = layer.split(tokens)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    mask = alive[:, None, None, :]
    scores = scores - scores.detach().masked_fill(mask.detach() == 0, -torch.inf).amax(-1, keepdim=True)
    weights = scores.clamp(max=20).exp() * mask  # what has left may score above all others
    weights = weights / weights.sum(-1, keepdim=True)
    mixed = weights.to(values.dtype) @ values
    if heads is not None:
        mixed = mixed * heads[:, :, None, None]
    return Mixed(layer.proj(mixed.transpose(1, 2).flatten(2)), weights, values)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return ``hard`` with the gradient of ``soft``.

    >>> soft = torch.tensor([0.4], requires_grad=True)
    >>> straight_through(soft.detach() > 0.5, soft).backward()
    >>> soft.grad.item()
    1.0
    """
    return hard.to(soft) + soft - soft.detach()
