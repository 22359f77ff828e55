"""Small untrained vision transformers that skip, and one whose costliest input is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torpor.targets.tokens.adavit import PolicyTarget
from torpor.targets.tokens.ats import SamplingTarget
from torpor.targets.tokens.avit import PatchHaltingTarget
from torpor.targets.tokens.target import TokenTarget
from torpor.zoo.networks.adaptive import HaltingTransformer, PolicyTransformer
from torpor.zoo.networks.vit import VisionLayer, VisionTransformer

SHAPE: dict[str, Any] = {"channels": 1, "side": 16, "dim": 16, "depth": 4, "heads": 2, "widths": (4, 8)}


def telling(network: VisionTransformer) -> None:
    """Let patches differ by what they show."""
    last = network.stem[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.normal_(last.weight, std=1.0)


def halting(seed: int = 0) -> PatchHaltingTarget:
    """Build a network whose patches halt at different depths."""
    torch.manual_seed(seed)
    network = HaltingTransformer(**SHAPE)
    network.scale, network.center = 2.0, 1.0
    nn.init.normal_(network.position, std=1.0)
    telling(network)
    return PatchHaltingTarget(network, name="halting")


def policies(seed: int = 0) -> PolicyTarget:
    """Build a network that skips about a third of everything."""
    torch.manual_seed(seed)
    network = PolicyTransformer(**SHAPE)
    nn.init.normal_(network.position, std=1.0)
    telling(network)
    for policy in (*network.token_policies, *network.layer_policies):
        assert isinstance(policy, nn.Linear)
        nn.init.normal_(policy.weight, std=0.5)
        nn.init.constant_(policy.bias, 0.5)
    return PolicyTarget(network, name="policies")


def sampling(seed: int = 0) -> SamplingTarget:
    """Build a network whose class token looks at few patches."""
    torch.manual_seed(seed)
    network = VisionTransformer(**SHAPE)
    for layer in network.layers:
        assert isinstance(layer, VisionLayer)
        nn.init.normal_(layer.qkv.weight, std=0.8)
    return SamplingTarget(network, name="sampling")


BUILT: dict[str, Callable[[int], TokenTarget]] = {"halting": halting, "policies": policies, "sampling": sampling}


def pictures(count: int, seed: int = 3) -> Tensor:
    """Return images ``[B, 1, 16, 16]`` of different contrast, as files hold them."""
    rng = torch.Generator().manual_seed(seed)
    contrast = torch.rand(count, 1, 1, 1, generator=rng)
    return (255 * (contrast * torch.rand(count, 1, 16, 16, generator=rng) + 0.3 * (1 - contrast))).round() / 255


class Bright(nn.Module):
    """A transformer of four patches of a pixel each: layers add nothing, and bright patches halt sooner.

    A patch of brightness ``v`` has the halting score ``sigmoid(8 (v - 0.5))`` after every layer.
    """

    shape = (1, 2, 2)
    scale, center = 8.0, 4.0

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(2, 1) for _ in range(depth))
        for layer in self.layers:
            assert isinstance(layer, VisionLayer)
            for last in (layer.proj, layer.fc2):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        self.norm, self.head = nn.Identity(), nn.Linear(2, 2)

    def embed(self, images: Tensor) -> Tensor:
        """Return a class token of zeros and patches that begin with their brightness."""
        patches = images.flatten(1)[..., None]
        tokens = torch.cat([torch.zeros_like(patches[:, :1]), patches], 1)
        return torch.cat([tokens, torch.zeros_like(tokens)], 2)


def bright() -> PatchHaltingTarget:
    """Build the target whose costliest input is known."""
    torch.manual_seed(0)
    return PatchHaltingTarget(Bright(), name="bright")


def layers_of_bright(images: Tensor, depth: int = 4) -> Tensor:
    """Return how many layers each patch of :func:`bright` runs, int64 ``[B, 4]``, in closed form."""
    halting = (8 * images.double().flatten(1) - 4).sigmoid()
    return (0.99 / halting).ceil().clamp(1, depth).to(torch.int64)
