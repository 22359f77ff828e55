"""Proposals of the Square Attack in L2: mass that moves from one window to another."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.attacks.search.balls import L2, per_sample
from torpor.core.batches import draw

TILES = 5
"""Patterns along each side of the first proposal."""


def bump(side: int) -> Tensor:
    """Return two opposite bumps, one above the other, that fade outward, ``[side, side]`` (Andriushchenko et al., A.2).

    >>> bump(2).sign()
    tensor([[ 1.,  1.],
            [-1., -1.]])
    """
    upper, lower = _rings(max(1, side // 2), side), _rings(side - max(1, side // 2), side)
    return torch.cat([upper, -lower])[:side]


def _rings(height: int, width: int) -> Tensor:
    """Return the sum of nested rectangles around the middle, the ``n``-th smallest of value ``1 / n^2``."""
    ys = (torch.arange(height) - height // 2).abs().view(-1, 1)
    xs = (torch.arange(width) - width // 2).abs().view(1, -1)
    ring = torch.maximum(ys, xs) + 1
    most = max(height, width) // 2 + 1
    return sum((1.0 / n**2 * (ring <= n) for n in range(1, most + 1)), torch.zeros(height, width))


def window(corner: Tensor, side: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where one window of each sample is, bool ``[B, 1, H, W]``, and its rows and columns there.

    Args:
        corner: where its top left is, uniform in [0, 1), ``[B, 2]``.
        side: of the window, in pixels.
        like: changes ``[B, C, H, W]``.
    """
    height, width = like.shape[-2:]
    top, left = (corner[:, 0] * (height - side + 1)).floor(), (corner[:, 1] * (width - side + 1)).floor()
    ys = torch.arange(height, device=like.device).view(1, 1, -1, 1) - per_sample(top, like)
    xs = torch.arange(width, device=like.device).view(1, 1, 1, -1) - per_sample(left, like)
    inside = (ys >= 0) & (ys < side) & (xs >= 0) & (xs < side)
    return inside, ys, xs


def tiled(eps: float, generators: list[torch.Generator], like: Tensor) -> Tensor:
    """Return a grid of bumps of random signs, ``[B, C, H, W]``, of L2 norm ``eps``: the first proposal."""
    _, channels, height, width = like.shape
    side = max(2, min(height, width) // TILES)
    down, across = -(-height // side), -(-width // side)
    signs = draw(generators, lambda g: torch.rand(channels, down, across, generator=g), like) - 0.5
    full = bump(side).to(like).repeat(down, across) * signs.sign().repeat_interleave(side, 2).repeat_interleave(side, 3)
    return L2().steepest(full[:, :, :height, :width]) * eps


def moved(eps: float, delta: Tensor, generators: list[torch.Generator], side: int) -> Tensor:
    """Empty one random window of each change ``[B, C, H, W]``, and write a bump of that mass into another one.

    What of the budget is not spent yet goes there too. The bump is added to the direction that the window has
    (Andriushchenko et al., algorithm 3).
    """
    channels = delta.shape[1]
    uniform = draw(generators, lambda g: torch.rand(5 + channels, generator=g), delta)
    to, ys, xs = window(uniform[:, :2], side, delta)
    source, _, _ = window(uniform[:, 2:4], side, delta)
    ys, xs = ys.long().clamp(0, side - 1), xs.long().clamp(0, side - 1)
    pattern = bump(side).to(delta)
    pattern = torch.where(per_sample(uniform[:, 4] < 0.5, delta), pattern[ys, xs], pattern[xs, ys])
    pattern = _unit(pattern * (uniform[:, 5:] - 0.5).sign().view(-1, channels, 1, 1) * to, (2, 3))
    pattern = _unit(pattern + _unit(delta * to, (1, 2, 3)), (2, 3))
    free = (eps**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp_min(0) / channels
    mass = free + (delta * (to | source)).square().sum((2, 3), keepdim=True)
    return torch.where(to, pattern * mass.sqrt(), torch.where(source, 0.0, delta))


def _unit(values: Tensor, dimensions: tuple[int, ...]) -> Tensor:
    return values / values.square().sum(dimensions, keepdim=True).sqrt().clamp_min(1e-12)
