"""Inputs that left torch and came back: known again by their values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EXPLAINED = 0.95
"""Share of the variance of what came back that a line through the input explains, at least."""
FEWEST = 16
"""Values of a channel from which a line can be told at all."""


def comparable(values: Tensor, inputs: Tensor) -> bool:
    """Tell whether a tensor may be the inputs that came back: what is learned, or of another shape or place, is not."""
    plain = values.layout == torch.strided and not (values.is_quantized or values.is_complex())
    return (
        plain
        and values.dtype != torch.bool
        and not isinstance(values, nn.Parameter)
        and (values.shape, values.device) == (inputs.shape, inputs.device)
        and inputs.ndim > 2
        and inputs[0, 0].numel() >= FEWEST
    )


def slopes(values: Tensor, inputs: Tensor) -> Tensor:
    """Return the slope of values over inputs, of each sample and channel; 0 where a sample's values are on no line.

    Pixels that numpy normalizes, quantizes or compresses come back about on a line through those that left torch.

    Args:
        values: ``[B, C, ...]``, which :func:`comparable` allows.
        inputs: of the same shape.

    Returns:
        ``[B, C, 1, ...]``.

    >>> left = torch.rand(2, 3, 4, 4)
    >>> (slopes((255 * left).round() / 255 - 1, left).flatten() * 100).round().tolist()
    [100.0, 100.0, 100.0, 100.0, 100.0, 100.0]
    >>> slopes(left.roll(1, 3), left).any().item()
    False
    """
    space, rest = tuple(range(2, inputs.ndim)), tuple(range(1, inputs.ndim))
    target, known = (each.detach().to(torch.float32) for each in (values, inputs))
    target, known = (each - each.mean(space, keepdim=True) for each in (target, known))
    spread = known.square().sum(space, keepdim=True)
    slope = torch.where(spread > 0, (known * target).sum(space, keepdim=True) / spread, 0)
    missed = (target - slope * known).square().sum(rest, keepdim=True)
    return torch.where(missed < (1 - EXPLAINED) * target.square().sum(rest, keepdim=True), slope, 0)
