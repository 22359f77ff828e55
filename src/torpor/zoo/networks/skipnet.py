"""Residual networks that skip blocks, each by a small feed-forward gate of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from torpor.data.images import ImageSet
from torpor.targets.layer_skipping import LayerSkippingTarget
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.backbones import PixelNormalization

OPEN = 2.0
"""Initial logit of a gate, in standard deviations of what it says of a batch: nearly all samples run the block."""


class GatedBlock(nn.Module):
    """A residual block: a branch that a gate may skip, and a shortcut that always runs.

    Attributes:
        branch: two convolutions.
        shortcut: the identity, or a 1 x 1 convolution where the shape changes.
        gate: maps channel means ``[B, C]`` to a logit ``[B, 1]``; the branch runs where it is above 0.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, hidden: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        # normalized over the batch, so that a gate tells samples apart instead of being open or closed for all
        says = nn.BatchNorm1d(1)
        nn.init.constant_(says.bias, OPEN)
        self.gate = nn.Sequential(nn.Linear(channels_in, hidden), nn.ReLU(), nn.Linear(hidden, 1, bias=False), says)

    def logit(self, features: Tensor) -> Tensor:
        """Return the logit of the gate, ``[B]``."""
        logit: Tensor = self.gate(features.mean((2, 3))).squeeze(1)
        return logit

    def branch_flops(self, pixels: int) -> int:
        """Return the FLOPs of the branch where feature maps that leave it have this many pixels."""
        return 2 * pixels * sum(kernel.numel() for kernel in self.branch.parameters() if kernel.ndim == 4)


class SkipNetwork(nn.Module):
    """A residual network whose blocks are skipped sample by sample (after SkipNet, Wang et al., ECCV 2018).

    Each gate looks at the channel means of what enters its block (the feed-forward gates of the paper, as small as
    they go).

    Args:
        shape: ``(C, H, W)`` of one image.
        widths: channels of each group; every group but the first halves the resolution.
        depth: blocks per group.
        hidden: width of the gates.
        num_classes: of the task.
        mean: of the pixels, per channel.
        std: of the pixels, per channel.
        stride: of the first convolution.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        widths: Sequence[int],
        depth: int,
        *,
        hidden: int,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.stem = nn.Sequential(
            PixelNormalization(mean, std),
            nn.Conv2d(shape[0], widths[0], 3, stride, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.ModuleList()
        channels_in = widths[0]
        for group, channels in enumerate(widths):
            for place in range(depth):
                self.blocks.append(GatedBlock(channels_in, channels, 2 if group and not place else 1, hidden))
                channels_in = channels
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, num_classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute every block, for training.

        Returns:
            Class scores ``[B, C]``, and for each block ``[B, G]`` its share of the FLOPs of all branches, 0 where it is
            skipped.
        """
        features, opens, flops = self.stem(images), [], []
        for block in self.blocks:
            assert isinstance(block, GatedBlock)
            opens.append(straight_through(block.logit(features).float()))
            features = torch.relu(
                block.shortcut(features) + opens[-1].to(features.dtype).view(-1, 1, 1, 1) * block.branch(features)
            )
            flops.append(block.branch_flops(features.shape[2] * features.shape[3]))
        shares = torch.tensor(flops, dtype=torch.float32, device=images.device) / sum(flops)
        return self.head(features), torch.stack(opens, 1) * shares


def straight_through(logits: Tensor) -> Tensor:
    """Return 1 where a logit is above 0, else 0, with the gradient of the sigmoid.

    >>> logits = torch.tensor([-1.0, 0.0, 3.0], requires_grad=True)
    >>> straight_through(logits).tolist()
    [0.0, 0.0, 1.0]
    >>> round(torch.autograd.grad(straight_through(logits).sum(), logits)[0][1].item(), 3)
    0.25
    """
    soft = logits.sigmoid()
    return (logits > 0).to(soft.dtype) + soft - soft.detach()


def skipnet_cifar10() -> SkipNetwork:
    """Build a SkipNet of the ResNet-38 kind: 18 gated blocks of 16, 32 and 64 channels."""
    return SkipNetwork(
        (3, 32, 32),
        (16, 32, 64),
        6,
        hidden=16,
        num_classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )


def skipnet_digits() -> SkipNetwork:
    """Build a small SkipNet for gray digits: 6 gated blocks of 8, 16 and 32 channels."""
    return SkipNetwork((1, 32, 32), (8, 16, 32), 2, hidden=8, num_classes=10, mean=(0.3,), std=(0.3,), stride=2)


def skipnet_target(
    network: SkipNetwork, *, name: str, source: Callable[[Path | None], ImageSet]
) -> LayerSkippingTarget:
    """Return the target that runs a trained ``network``, whose batch norm it folds into the layers before."""

    def folded(layers: nn.Module) -> nn.Sequential:
        return nn.Sequential(*fold_batch_norm(layers).children())

    network.stem = nn.Sequential(network.stem[0], *folded(network.stem[1:]))
    for block in network.blocks:
        assert isinstance(block, GatedBlock)
        block.branch, block.gate = folded(block.branch), folded(block.gate)
        if not isinstance(block.shortcut, nn.Identity):
            block.shortcut = folded(block.shortcut)
    return LayerSkippingTarget(network, name=name, source=source)
