"""Fan-out: in how many multiply-adds each number that enters a linear layer takes part."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from torpor.core.errors import UsageError

LINEAR = (_ConvNd, nn.Linear)
"""Layers that multiply and add."""


def fan_out(layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Return, for each number of one input, how many outputs it is multiplied into, int64 of that shape.

    Padding is skipped like any other zero, so numbers at the border of an image reach fewer outputs.

    Args:
        layer: a convolution or a linear layer, or several modules of which one is and the others only move data.
        shape: of one input, without the batch.

    Raises:
        UsageError: if nothing, or more than one module, multiplies and adds.

    >>> fan_out(nn.Conv2d(1, 2, 3, padding=1), (1, 3, 3))[0].tolist()
    [[8, 12, 8], [12, 18, 12], [8, 12, 8]]
    """
    found = [part for part in layer.modules() if isinstance(part, LINEAR)]
    if len(found) != 1:
        raise UsageError(f"expected one convolution or linear layer, got {len(found)}; count them apart")
    ones = copy.deepcopy(layer).to("cpu", torch.float64)
    for part in ones.modules():
        if isinstance(part, LINEAR):
            nn.init.ones_(part.weight)
            part.bias = None
    with torch.enable_grad():
        point = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
        (count,) = torch.autograd.grad(ones(point).sum(), point)
    return count[0].round().to(torch.int64)
