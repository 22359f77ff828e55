"""The zoo's networks of spiking neurons."""

from __future__ import annotations

from torch import nn

from torpor.targets.spiking.network import SpikingNetwork

GAIN = 2.0
"""Spread of the current of an untrained neuron whose inputs are all 1."""


def spiking_digits() -> SpikingNetwork:
    """Build three populations of neurons for gray images of 32 x 32 pixels, 8 timesteps.

    >>> sum(p.numel() for p in spiking_digits().parameters())
    13818
    """
    synapses = (
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Sequential(nn.Flatten(), nn.Linear(16 * 8 * 8, 10)),
    )
    encoder = nn.Conv2d(1, 8, 3, stride=2, padding=1)
    for layer in (encoder, *synapses[:2]):  # strong enough that untrained neurons fire
        nn.init.normal_(layer.weight, std=GAIN / layer.weight[0].numel() ** 0.5)
    return SpikingNetwork(encoder, synapses, steps=8, leak=0.9, input_shape=(1, 32, 32))
