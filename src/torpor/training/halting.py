"""Train networks that halt: accuracy, and a price on each block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.training.classifiers import ClassifierRecipe
from torpor.zoo.networks.act import HaltingNetwork


@dataclass(frozen=True, kw_only=True)
class HaltingDepthRecipe(ClassifierRecipe):
    """How a network that halts is trained.

    Attributes:
        ponder_weight: loss per block that runs (the paper's tau).
        free: share of the training in which blocks cost nothing.
    """

    ponder_weight: float
    free: float = 0.1


def halting_losses(
    model: HaltingNetwork, batch: Tensor, labels: Tensor, recipe: HaltingDepthRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with the ponder cost added, and without."""
    with torch.autocast(batch.device.type, torch.bfloat16):
        logits, ponder = model(batch)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    weight = recipe.ponder_weight if epoch >= recipe.free * recipe.epochs else 0.0
    return loss + weight * ponder.mean(), loss
