"""A small one-stage detector without anchor boxes, in the manner of YOLOX (Ge et al., arXiv:2107.08430)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.zoo.backbones import BasicBlock, PixelNormalization

STRIDES = (8, 16, 32)
"""Pixels per cell of each feature map; every cell proposes one box."""
PRIOR = 0.01
"""Objectness and class probability of an untrained network: most cells are background."""


def conv(channels_in: int, channels: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Build a convolution with normalization and ReLU."""
    layer = nn.Conv2d(channels_in, channels, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Pyramid(nn.Module):
    """Backbone of residual blocks, and a path aggregation neck (Liu et al., "PANet", CVPR 2018).

    Args:
        widths: channels of the feature maps at strides 2, 4, 8, 16 and 32.
        neck: channels of every feature map that comes out.
    """

    def __init__(self, widths: Sequence[int], neck: int) -> None:
        super().__init__()
        first, second, *rest = widths
        self.normalize = PixelNormalization([0.3] * 3, [0.25] * 3)
        self.stem = nn.Sequential(conv(3, first, 3, 2), BasicBlock(first, second, 2))
        self.stages = nn.ModuleList([BasicBlock(*pair, 2) for pair in zip(widths[1:], rest, strict=False)])
        self.lateral = nn.ModuleList([conv(width, neck, 1) for width in rest])
        self.down = nn.ModuleList([conv(2 * neck, neck) for _ in rest[1:]])
        self.shrink = nn.ModuleList([conv(neck, neck, 3, 2) for _ in rest[1:]])
        self.up = nn.ModuleList([conv(2 * neck, neck) for _ in rest[1:]])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``[B, 3, H, W]`` in [0, 1] to a feature map of each stride, ``[B, neck, h, w]``, fine to coarse.

        A side of ``h`` or ``w`` cells is that of the image divided by the stride, rounded up.
        """
        features = self.stem(self.normalize(images))
        maps = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            features = stage(features)
            maps.append(lateral(features))
        for level in range(len(maps) - 2, -1, -1):
            coarse = F.interpolate(maps[level + 1], size=maps[level].shape[2:], mode="nearest")
            maps[level] = self.down[level](torch.cat([maps[level], coarse], 1))
        for level in range(1, len(maps)):
            fine = self.shrink[level - 1](maps[level - 1])
            maps[level] = self.up[level - 1](torch.cat([maps[level], fine], 1))
        return maps


class Head(nn.Module):
    """Tell for each cell of a feature map the class, and apart from that where the box is and whether there is one."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.what = nn.Sequential(conv(channels, channels), nn.Conv2d(channels, classes, 1))
        self.where = nn.Sequential(conv(channels, channels), nn.Conv2d(channels, 5, 1))
        for branch, rows in ((self.what, slice(None)), (self.where, slice(4, 5))):
            bias = branch[-1].bias
            assert isinstance(bias, Tensor)
            nn.init.constant_(bias.data[rows], -math.log(1 / PRIOR - 1))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, C, h, w]`` to ``[B, 5 + L, h, w]``: center, log size, objectness logit, class logits."""
        return torch.cat([self.where(features), self.what(features)], 1)


class PyramidDetector(nn.Module):
    """One box for each cell of three feature maps.

    Args:
        classes: how many.
        widths: see :class:`Pyramid`.
        neck: see :class:`Pyramid`.

    >>> boxes, scores = PyramidDetector(20).eval()(torch.zeros(1, 3, 128, 192))
    >>> boxes.shape, scores.shape  # 16 * 24 + 8 * 12 + 4 * 6 cells
    (torch.Size([1, 504, 4]), torch.Size([1, 504, 20]))
    """

    def __init__(self, classes: int, widths: Sequence[int] = (16, 32, 64, 96, 128), neck: int = 48) -> None:
        super().__init__()
        self.pyramid: nn.Module = Pyramid(widths, neck)
        self.heads = nn.ModuleList([Head(neck, classes) for _ in STRIDES])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes ``[B, N, 4]`` (left, top, right, bottom, in pixels) and class scores ``[B, N, L]`` of images.

        A score is the probability that there is an object times that of its class.
        """
        boxes, objectness, classes, _ = self.propose(images)
        return boxes, objectness.sigmoid().unsqueeze(-1) * classes.sigmoid()

    def propose(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return boxes ``[B, N, 4]``, objectness logits ``[B, N]``, class logits ``[B, N, L]`` and cells ``[N, 3]``.

        A cell is given by its center's x and y, and its stride, in pixels.
        """
        maps = [head(features) for head, features in zip(self.heads, self.pyramid(images), strict=True)]
        cells = torch.cat([_cells(each, stride) for each, stride in zip(maps, STRIDES, strict=True)])
        found = torch.cat([each.flatten(2) for each in maps], 2).transpose(1, 2).float()
        stride = cells[:, 2:]
        center = cells[:, :2] + found[..., :2] * stride
        half = found[..., 2:4].clamp(max=6).exp() * stride / 2
        return torch.cat([center - half, center + half], -1), found[..., 4], found[..., 5:], cells


def _cells(features: Tensor, stride: int) -> Tensor:
    """Return the centers of the cells of a map ``[B, C, h, w]``, row by row, and their stride, ``[h * w, 3]``."""
    down, across = (torch.arange(size, device=features.device) for size in features.shape[2:])
    centers = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1).flatten(0, 1)
    return torch.cat(
        [(centers + 0.5) * stride, torch.full((len(centers), 1), float(stride), device=features.device)], 1
    )
