"""Losses of networks that skip layers: the classes are to be right, at a share of the cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.training.classifiers import ClassifierRecipe
from torpor.zoo.networks.skipnet import SkipNetwork


@dataclass(frozen=True, kw_only=True)
class SkipRecipe(ClassifierRecipe):
    """How a network learns what it may skip: all gates are open at first, then the cost that is free shrinks.

    Attributes:
        goal: share of the FLOPs of all branches that costs nothing at the end.
        ramp: when the free share begins to shrink from 1, and when it is at the goal, as shares of the training.
        cost_weight: of the share of FLOPs above what is free, beside a cross-entropy of 1.
    """

    goal: float = 0.6
    ramp: tuple[float, float] = (0.15, 0.5)
    cost_weight: float = 4.0

    def free(self, epoch: int) -> float:
        """Return the share of FLOPs that costs nothing in an epoch.

        >>> recipe = SkipRecipe(epochs=100, goal=0.5, ramp=(0.2, 0.6))
        >>> [recipe.free(epoch) for epoch in (0, 20, 40, 60, 99)]
        [1.0, 1.0, 0.75, 0.5, 0.5]
        """
        first, last = self.ramp
        done = min(max((epoch / self.epochs - first) / (last - first), 0.0), 1.0)
        return round(1 - done * (1 - self.goal), 6)


def skip_losses(
    model: SkipNetwork, batch: Tensor, labels: Tensor, recipe: SkipRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with what the batch's mean cost above the free share adds, and the cross-entropy."""
    with torch.autocast(batch.device.type, torch.bfloat16):
        scores, share = model(batch)
    right = F.cross_entropy(scores.float(), labels, label_smoothing=recipe.label_smoothing)
    return right + recipe.cost_weight * (share.mean() - recipe.free(epoch)).relu(), right
