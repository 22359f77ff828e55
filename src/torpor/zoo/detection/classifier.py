"""A tiny classifier of what is in a box, for pipelines that look again at every box that is kept."""

from __future__ import annotations

from torch import nn

from torpor.zoo.backbones import PixelNormalization
from torpor.zoo.detection.network import conv

SIDE = 32
"""Height and width of a crop in pixels."""


def classifier(classes: int) -> nn.Sequential:
    """Build five convolutions of 16 to 64 channels for crops ``[K, 3, 32, 32]``.

    >>> sum(p.numel() for p in classifier(20).parameters())
    71268
    """
    return nn.Sequential(
        PixelNormalization([0.3] * 3, [0.25] * 3),
        conv(3, 16, stride=2),
        conv(16, 32, stride=2),
        conv(32, 32),
        conv(32, 64, stride=2),
        conv(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )
