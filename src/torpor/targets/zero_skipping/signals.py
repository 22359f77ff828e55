"""Signals of networks whose cost is the share of neurons that fire."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torpor.core.signals import GateSignals

WIDTH = 0.05
"""Over which neurons fire by degrees, in root mean squares of their layer. On ``sparse-digits`` ten times as much finds
half as much, and a function with a tail finds more than a sigmoid, which is flat where a neuron is far from firing."""

SIGMA = 1e-4
"""Square of an activation that counts as half active: that of sponge poisoning (Cinà et al., arXiv:2203.08147)."""


@dataclass(frozen=True, eq=False)
class DensitySignals(GateSignals):
    """What decides which activations are zero; there are no gates.

    Attributes:
        norms: L2 norm of the activations that each layer reads, ``[B, L]``, differentiable.
        active: share of them that is not zero, by degrees: see :func:`soft_l0`, ``[B, L]``, differentiable.
    """

    norms: Tensor | None = None
    active: Tensor | None = None


def soft_l0(values: Tensor) -> Tensor:
    """Return which share of each row's values is not zero, by degrees: the mean of ``a^2 / (a^2 + 1e-4)``, ``[B]``.

    Args:
        values: activations, ``[B, N]``.

    >>> import torch
    >>> soft_l0(torch.tensor([[0.0, 0.01, 5.0, 7.0]])).round(decimals=3).tolist()
    [0.625]
    """
    squares = values.square()
    return (squares / (squares + SIGMA)).mean(1)


def soft_share(before: Tensor, scale: float) -> Tensor:
    """Return to which degree each number before a ReLU is above 0, from 0 to 1.

    Args:
        before: what a ReLU reads.
        scale: of such numbers, their root mean square.

    >>> import torch
    >>> [round(each, 3) for each in soft_share(torch.tensor([-1.0, 0.0, 0.05, 1.0]), 1.0).tolist()]
    [0.024, 0.5, 0.75, 0.976]
    """
    width = WIDTH * scale
    return 0.5 + 0.5 * before / (before.abs() + width)
