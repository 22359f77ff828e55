"""Small targets whose work is activity, and of which the most active image is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torpor.targets.zero_skipping.target import ZeroSkippingTarget

SIDE = 4
LEVEL = 0.5


def bright_pixels(side: int = SIDE) -> ZeroSkippingTarget:
    """Return a network with one hidden neuron per pixel, which fires where the pixel is above one half."""
    hidden, head = nn.Linear(side * side, side * side), nn.Linear(side * side, 2)
    with torch.no_grad():
        nn.init.eye_(hidden.weight)
        hidden.bias.fill_(-LEVEL)
        head.weight[0], head.weight[1] = 1.0, -1.0
        head.bias.zero_()
    return ZeroSkippingTarget(nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), head), input_shape=(1, side, side))


def ramp(side: int = SIDE) -> Tensor:
    """Return an image whose pixels rise from 0.3 to 0.6, on the grid of 8 bits."""
    return torch.linspace(0.3, 0.6, side * side).view(1, 1, side, side).mul(255).round() / 255
