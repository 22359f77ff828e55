"""Small targets whose work is activity, and of which the most active image is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torpor.targets.base import Target
from torpor.targets.spiking.network import SpikingNetwork
from torpor.targets.spiking.target import SpikingTarget
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


def gray_scale() -> ZeroSkippingTarget:
    """Return a network of sixteen neurons, each of which fires where the mean pixel is above its level."""
    hidden, head = nn.Linear(SIDE * SIDE, 16), nn.Linear(16, 2)
    with torch.no_grad():
        hidden.weight.fill_(1 / (SIDE * SIDE))
        hidden.bias.copy_(-levels())
        nn.init.ones_(head.weight)
    return ZeroSkippingTarget(nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), head), input_shape=(1, SIDE, SIDE))


def levels() -> Tensor:
    """Return the level of each neuron of :func:`gray_scale`."""
    return torch.linspace(0.3, 0.6, 16)


def ramp(side: int = SIDE) -> Tensor:
    """Return an image whose pixels rise from 0.3 to 0.6, on the grid of 8 bits."""
    return torch.linspace(0.3, 0.6, side * side).view(1, 1, side, side).mul(255).round() / 255


def one_neuron(steps: int = 8) -> SpikingTarget:
    """Return a neuron without leak whose current is the one pixel, and which fires as often as its sum passes 1."""
    network = SpikingNetwork(nn.Flatten(), [nn.Linear(1, 2)], steps=steps, leak=1.0, input_shape=(1, 1, 1))
    return SpikingTarget(network, rule=None)


ACTIVITY_TARGETS: dict[str, Callable[[], Target]] = {"gray-scale": gray_scale, "one-neuron": one_neuron}
"""By their names in tables of tests."""
