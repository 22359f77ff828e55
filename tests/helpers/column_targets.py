"""Small networks in 8 bits with outlier columns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torpor.targets.mixed_precision.linear import thresholds_of
from torpor.targets.mixed_precision.target import MixedPrecisionTarget

SIDE = 4


class RowPerceptron(nn.Module):
    """Rows of an image are tokens, with a perceptron on each."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(SIDE, 12), nn.Linear(12, SIDE), nn.Linear(SIDE, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(1, 2)
        mixed = tokens + self.two(self.one(4 * tokens).relu())
        scores: Tensor = self.head(mixed.mean(1))
        return scores


def random_images(count: int, seed: int = 0) -> Tensor:
    """Draw 8-bit images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 1, SIDE, SIDE), generator=generator) / 255


def row_columns(share: float = 0.2) -> MixedPrecisionTarget:
    """Build a target of which a share of the columns has an outlier."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RowPerceptron()
    thresholds = thresholds_of(network, random_images(32, 9), share)
    return MixedPrecisionTarget(network, thresholds, input_shape=(1, SIDE, SIDE))
