"""Internal classifiers of Shallow-Deep Networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MixPool(nn.Module):
    """Blend max and average pooling with one learned weight: ``a * max + (1 - a) * avg``.

    Feature maps ``[B, C, H, W]`` shrink to ``[B, C, size, size]``. Paper: Kaya, Hong and Dumitras, "Shallow-Deep
    Networks: Understanding and Mitigating Network Overthinking", ICML 2019.

    >>> MixPool(2)(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 3, 2, 2])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Return ``[B, C, size, size]``."""
        peak = F.adaptive_max_pool2d(features, self.size)
        mean = F.adaptive_avg_pool2d(features, self.size)
        return self.weight * peak + (1 - self.weight) * mean


class InternalClassifier(nn.Module):
    """Mix-pool a feature map to at most 4 x 4 and classify it with one linear layer.

    >>> InternalClassifier(channels=8, num_classes=10, size=4)(torch.zeros(2, 8, 16, 16)).shape
    torch.Size([2, 10])
    """

    def __init__(self, channels: int, num_classes: int, size: int) -> None:
        super().__init__()
        self.pool = MixPool(size)
        self.linear = nn.Linear(channels * size * size, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[B, num_classes]``."""
        logits: Tensor = self.linear(self.pool(features).flatten(1))
        return logits
