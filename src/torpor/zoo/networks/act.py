"""Residual networks that halt (Graves, "Adaptive Computation Time", arXiv:1603.08983; Figurnov et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torpor.zoo.backbones import BasicBlock, PixelNormalization

EARLY = -1.0
"""Initial logit of halting scores: samples halt after half a dozen blocks."""


class Means(nn.Module):
    """The mean of each channel, ``[B, C, H, W]`` to ``[B, C]``."""

    def forward(self, features: Tensor) -> Tensor:
        """Return ``[B, C]``."""
        return features.mean((2, 3))


class HaltingNetwork(nn.Module):
    """Residual blocks of one width after a stem, with a halting unit after each but the last.

    Args:
        shape: ``(C, H, W)`` of one image.
        width: channels.
        depth: blocks.
        stride: of the stem.
        num_classes: of the task.
        mean: of the pixels, per channel.
        std: of the pixels, per channel.
    """

    slack = 0.01

    def __init__(
        self,
        shape: tuple[int, int, int],
        width: int,
        depth: int,
        *,
        stride: int,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.shape = shape
        self.stem = nn.Sequential(
            PixelNormalization(mean, std),
            nn.Conv2d(shape[0], width, 5, stride, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList(BasicBlock(width, width, 1) for _ in range(depth))
        self.halts = nn.ModuleList(_halting_unit(width) for _ in range(depth - 1))
        self.head = nn.Sequential(Means(), nn.Linear(width, num_classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute every block, for training.

        Returns:
            Class scores ``[B, C]``, and what the paper calls ponder cost, ``[B]``: blocks run plus the remainder.
        """
        state = self.stem(images)
        mean = torch.zeros_like(state)
        mass = torch.zeros(len(images), device=images.device)
        running, ponder = torch.ones_like(mass), torch.zeros_like(mass)
        for k, block in enumerate(self.blocks):
            state = block(state)
            ponder = ponder + running
            if k < len(self.halts):
                score = self.halts[k](state).float().squeeze(1).sigmoid()
                halts = (mass + score >= 1 - self.slack).to(score.dtype)
            else:
                score, halts = torch.zeros_like(mass), torch.ones_like(mass)
            weight = running * (halts * (1 - mass) + (1 - halts) * score)
            ponder = ponder + running * halts * (1 - mass)
            mean = mean + weight.view(-1, 1, 1, 1) * state
            mass, running = mass + running * (1 - halts) * score, running * (1 - halts)
        return self.head(mean), ponder


def _halting_unit(width: int) -> nn.Module:
    # normalized over the batch, so that a unit tells samples apart instead of scoring all alike
    says = nn.BatchNorm1d(1)
    nn.init.constant_(says.bias, EARLY)
    return nn.Sequential(Means(), nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 1, bias=False), says)


def act_digits() -> HaltingNetwork:
    """Build a network for gray digits that halts after at most 8 blocks of 16 channels."""
    return HaltingNetwork((1, 32, 32), 16, 8, stride=4, num_classes=10, mean=(0.3,), std=(0.3,))
