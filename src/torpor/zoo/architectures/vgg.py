"""VGG-16 with batch normalization for 32 x 32 images (Simonyan and Zisserman, ICLR 2015)."""

from __future__ import annotations

from torch import nn

from torpor.zoo.architectures.normalize import PixelNormalization

CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0 is a 2 x 2 max-pool


def vgg16(num_classes: int = 10) -> nn.Sequential:
    """Build VGG-16-BN with one linear layer; convolution ``k`` (from 1) ends in the submodule ``f"conv{k}"``.

    >>> sum(p.numel() for p in vgg16().parameters())
    14724042
    """
    model = nn.Sequential()
    model.add_module("normalize", PixelNormalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
    channels_in, convs, pools = 3, 0, 0
    for channels in CHANNELS:
        if channels == 0:
            pools += 1
            last = pools == CHANNELS.count(0)  # takes what is left, so that smaller images pass too
            model.add_module(f"pool{pools}", nn.AdaptiveMaxPool2d(1) if last else nn.MaxPool2d(2))
            continue
        convs += 1
        conv = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        model.add_module(f"conv{convs}", nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)))
        channels_in = channels
    model.add_module("flatten", nn.Flatten())
    model.add_module("linear", nn.Linear(512, num_classes))
    return model
