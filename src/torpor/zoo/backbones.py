"""Backbones of image classifiers of 32 x 32 pixels, to which a builder attaches exits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0 is a 2 x 2 max-pool


class PixelNormalization(nn.Module):
    """Map pixels in [0, 1] to ``(x - mean) / std`` per channel.

    >>> PixelNormalization([0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
    2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return standardized images of the same shape."""
        return (images - self.mean) / self.std


def convnet(num_classes: int = 10) -> nn.Sequential:
    """Build six 3 x 3 convolutions, 2 to 16 channels; convolution ``k`` (from 1) ends in the submodule ``f"conv{k}"``.

    For gray images, and deep enough to be worth leaving early.

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


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; a strided shortcut is a 1 x 1 convolution (option B)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[B, channels_in, H, W]`` to ``[B, channels, H / stride, W / stride]``."""
        hidden = torch.relu_(self.bn1(self.conv1(inputs)))
        return torch.relu_(self.bn2(self.conv2(hidden)).add_(self.shortcut(inputs)))


def resnet56(num_classes: int = 10) -> nn.Sequential:
    """Build ResNet-56: 27 blocks of 16, 32 and 64 channels; block ``k`` (from 1) is the submodule ``f"block{k}"``.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

    >>> sum(p.numel() for p in resnet56().parameters())
    855770
    """
    layers: dict[str, nn.Module] = {
        "normalize": PixelNormalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        "conv": nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        "bn": nn.BatchNorm2d(16),
        "relu": nn.ReLU(),
    }
    channels_in = 16
    for index in range(27):
        channels = 16 << (index // 9)
        stride = 2 if index in (9, 18) else 1
        layers[f"block{index + 1}"] = BasicBlock(channels_in, channels, stride)
        channels_in = channels
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": nn.Linear(64, num_classes)}
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model


def vgg16(num_classes: int = 10) -> nn.Sequential:
    """Build VGG-16-BN with one linear layer; convolution ``k`` (from 1) ends in the submodule ``f"conv{k}"``.

    Simonyan and Zisserman, ICLR 2015.

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
