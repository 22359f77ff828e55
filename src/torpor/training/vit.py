"""How vision transformers learn from images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.training.classifiers import ClassifierRecipe
from torpor.zoo.networks.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe(ClassifierRecipe):
    """How the backbone learns: from random halves of the patches first, then from all.

    Training on part of the patches costs less and makes the network bear the loss of tokens (Liu et al.,
    "PatchDropout", WACV 2023).

    Attributes:
        keep: share of the patches that is looked at.
        whole_epochs: epochs at the end that look at all of them.
    """

    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    keep: float = 0.5
    whole_epochs: int = 1


def dropped_patches(
    model: VisionTransformer, batch: Tensor, labels: Tensor, recipe: TransformerRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy on a random part of the patches, computed in bfloat16, twice."""
    keep = recipe.keep if epoch < recipe.epochs - recipe.whole_epochs else 1.0
    with torch.autocast(batch.device.type, torch.bfloat16):
        logits = model(batch, keep)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    return loss, loss
