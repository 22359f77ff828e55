"""ResNet-56 for 32 x 32 images (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torpor.zoo.architectures.normalize import PixelNormalization


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
