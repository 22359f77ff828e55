"""A small convolutional network for 32 x 32 gray images, deep enough to be worth leaving early."""

from __future__ import annotations

from torch import nn


def convnet(num_classes: int = 10) -> nn.Sequential:
    """Build six 3 x 3 convolutions, 2 to 16 channels; convolution ``k`` (from 1) ends in the submodule ``f"conv{k}"``.

    >>> sum(p.numel() for p in convnet().parameters())
    6800
    """
    model = nn.Sequential()
    channels_in = 1
    for index, (channels, stride) in enumerate([(2, 2), (8, 1), (8, 1), (16, 2), (16, 1), (16, 1)], start=1):
        conv = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        model.add_module(f"conv{index}", nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU()))
        channels_in = channels
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("linear", nn.Linear(channels_in, num_classes))
    return model
