"""Train networks of spiking neurons by surrogate gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.targets.spiking.network import SpikingNetwork
from torpor.training.classifiers import ClassifierRecipe


@dataclass(frozen=True, kw_only=True)
class SpikingRecipe(ClassifierRecipe):
    """How spiking neurons learn: classes after every timestep, since a run may stop there, and to fire rarely.

    Attributes:
        activity: weight of the mean number of spikes per neuron and timestep.
    """

    activity: float = 1.0


def spiking_loss(
    model: SpikingNetwork, batch: Tensor, labels: Tensor, recipe: SpikingRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy over the timesteps, with the price of spikes and without it."""
    scores, spikes = model(batch)
    every = labels.unsqueeze(1).expand(-1, scores.shape[1])
    error = F.cross_entropy(scores.transpose(1, 2), every, label_smoothing=recipe.label_smoothing)
    rates = torch.stack([fired.mean() for populations in spikes for fired in populations])
    return error + recipe.activity * rates.mean(), error
