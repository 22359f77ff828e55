"""Vision transformers that decide which of their parts run, on the backbone that all of them share."""

from __future__ import annotations

from typing import Any

from torch import nn

from torpor.zoo.networks.vit import VisionTransformer

DIGITS: dict[str, Any] = {"channels": 1, "dim": 32, "depth": 4, "heads": 2, "widths": (8, 16)}
RUNS = 3.0
"""Logit at which policies start: nearly everything runs."""


class HaltingTransformer(VisionTransformer):
    """Its patches tell in their first entry whether they have halted (A-ViT)."""

    scale, center = 4.0, 4.0


class PolicyTransformer(VisionTransformer):
    """It has a policy for each patch, head and half of a layer (AdaViT)."""

    def __init__(self, **shape: Any) -> None:  # noqa: ANN401 - as the backbone's
        super().__init__(**shape)
        dim = self.head.in_features
        self.token_policies = nn.ModuleList(nn.Linear(dim, 1) for _ in self.layers)
        self.layer_policies = nn.ModuleList(nn.Linear(dim, layer.heads + 2) for layer in self.layers)  # type: ignore[operator,arg-type]
        for policy in (*self.token_policies, *self.layer_policies):
            nn.init.zeros_(policy.weight)
            nn.init.constant_(policy.bias, RUNS)


def vit_cifar10() -> VisionTransformer:
    """Build the backbone for CIFAR-10: 64 patches, 6 layers of width 96."""
    return VisionTransformer()


def avit_cifar10() -> HaltingTransformer:
    """Build A-ViT for CIFAR-10."""
    return HaltingTransformer()


def vit_digits() -> VisionTransformer:
    """Build the backbone for handwritten digits: 64 patches, 4 layers of width 32."""
    return VisionTransformer(**DIGITS)


def avit_digits() -> HaltingTransformer:
    """Build A-ViT for handwritten digits: 64 patches, 4 layers of width 32."""
    return HaltingTransformer(**DIGITS)


def adavit_cifar10() -> PolicyTransformer:
    """Build AdaViT for CIFAR-10."""
    return PolicyTransformer()


def adavit_digits() -> PolicyTransformer:
    """Build AdaViT for handwritten digits."""
    return PolicyTransformer(**DIGITS)
