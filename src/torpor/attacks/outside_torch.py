"""Where values left torch and came back: found again by what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EXPLAINED = 0.95
"""Share of the variance of what came back that a line through what left explains, at least."""


@dataclass(frozen=True)
class Line:
    """A linear function of one of several tensors, channel by channel.

    Attributes:
        source: which tensor.
        slope: of each channel, ``[1, C, 1, 1]``, and alike for other numbers of dimensions.
    """

    source: int
    slope: Tensor


def line_through(values: Tensor, sources: Sequence[Tensor]) -> Line | None:
    """Return the linear function of one of ``sources`` that comes closest to ``values``; None if none is close.

    Numbers that numpy normalizes, quantizes or compresses come back as about a line through what left torch.

    Args:
        values: ``[B, C, ...]``, of any dtype but bool.
        sources: of the same shape, with values of their own.

    >>> left = torch.rand(2, 3, 4, 4)
    >>> line = line_through(2 * (255 * left).round() - 1, [torch.rand(2, 3, 4, 4), left])
    >>> line.source, line.slope.flatten().round().tolist()
    (1, [510.0, 510.0, 510.0])
    >>> line_through(left.roll(1, 3), [left]) is None
    True
    """
    target = values.detach().to(torch.float32)
    over = [axis for axis in range(target.ndim) if axis != 1 or target.ndim == 2]
    target = target - target.mean(over, keepdim=True)
    most, found = (1 - EXPLAINED) * target.square().sum(), None
    for place, source in enumerate(sources):
        known = source.detach().to(torch.float32)
        known = known - known.mean(over, keepdim=True)
        spread = known.square().sum(over, keepdim=True)
        slope = torch.where(spread > 0, (known * target).sum(over, keepdim=True) / spread, 1)
        rest = (target - slope * known).square().sum()
        if rest <= most and (found is None or rest < most):
            most, found = rest, Line(place, slope)
    return found
