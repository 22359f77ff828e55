"""Defend a target in your own way. Here: ``torpor audit sdn-digits --defenses own_defense:Blur:5 --limit 16``.

A transform changes what the target sees; a guard returns the same target with smaller caps. Both are settings and know
no target before ``defend`` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.core.space import InputSpace
from torpor.defenses.guards.base import Guard
from torpor.defenses.transforms.base import Transform, image_shape
from torpor.targets.base import Target


@dataclass(frozen=True)
class Blur(Transform):
    """Replace each pixel by the mean of a square window around it, ``window`` pixels wide, an odd number."""

    id: ClassVar[str] = "own-blur"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    setting: ClassVar[str] = "window"  # the field that follows the colon, as in own_defense:Blur:5
    window: int = 3

    def forward(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Blur images ``[B, C, H, W]`` in [0, 1]; a defense that draws at random would use the generators."""
        return F.avg_pool2d(inputs, self.window, stride=1, padding=self.window // 2)

    def surrogate(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Return what an adaptive attacker differentiates; by default the identity, here the blur itself."""
        return self.forward(inputs, generators)

    def flops(self, space: InputSpace) -> int:
        """Return one operation for each pixel of each window; they are charged to the defended target."""
        channels, height, width = image_shape(space)
        return channels * height * width * self.window**2


@dataclass(frozen=True)
class Halfway(Guard):
    """Run with the middle one of the caps that the target can have: half of the exits, of the steps or of the boxes."""

    id: ClassVar[str] = "own-halfway"

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        """Tell whether the target has caps that can be lowered."""
        return target.offers("rungs", "at_rung")

    def bounded(self, target: Any) -> Target:
        """Return the target with smaller caps; rung 0 is the target as it is."""
        guarded: Target = target.at_rung(target.rungs() // 2)
        return guarded
