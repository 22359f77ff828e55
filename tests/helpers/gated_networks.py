"""Small untrained networks that skip layers, and images that move their gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torpor.targets.layer_skipping import LayerSkippingTarget
from torpor.zoo.networks.skipnet import GatedBlock, SkipNetwork


def noisy(count: int, seed: int) -> Tensor:
    """Return random images around random means."""
    rng = torch.Generator().manual_seed(seed)
    mean, noise = torch.rand(count, 1, 1, 1, generator=rng), torch.rand(count, 1, 8, 8, generator=rng)
    return (mean + noise) / 2


@torch.no_grad()
def random_target(seed: int) -> LayerSkippingTarget:
    """Return an untrained network each of whose gates skips half of some images."""
    torch.manual_seed(seed)
    network = SkipNetwork((1, 8, 8), (4, 6), 2, hidden=16, num_classes=3, mean=(0.5,), std=(0.3,)).eval()
    features = network.stem(noisy(64, seed))
    for block in network.blocks:
        assert isinstance(block, GatedBlock)
        norm = block.gate[-1]
        assert isinstance(norm, nn.BatchNorm1d)
        norm.weight.fill_(30.0)
        norm.bias.sub_(block.logit(features).median())
        opens = (block.logit(features) > 0).view(-1, 1, 1, 1)
        features = torch.relu(block.shortcut(features) + opens * block.branch(features))
    return LayerSkippingTarget(network)
