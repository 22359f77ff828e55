"""Signals of networks whose cost is the share of neurons that fire."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torpor.core.signals import GateSignals

WIDTH = 0.25
"""Over which neurons fire by degrees, in root mean squares of a layer."""


@dataclass(frozen=True, eq=False)
class DensitySignals(GateSignals):
    """What decides which activations are zero; there are no gates.

    Attributes:
        norms: L2 norm of the activations that each layer reads, ``[B, L]``, differentiable.
    """

    norms: Tensor | None = None


def soft_share(before: Tensor, width: float = WIDTH) -> Tensor:
    """Return to which degree each number ``[B, ...]`` before a ReLU is above 0, on the scale of its sample.

    >>> import torch
    >>> [round(each, 3) for each in soft_share(torch.tensor([[-1.0, 0.0, 1.0]])).flatten().tolist()]
    [0.007, 0.5, 0.993]
    """
    flat = before.flatten(1)
    scale = width * flat.detach().square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
    return (flat / scale).sigmoid().view_as(before)
