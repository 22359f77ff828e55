"""What trainings on generated images share: their settings, and noise of any strength."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.training.loop import LoopRecipe


@dataclass(frozen=True, kw_only=True)
class ImageRecipe(LoopRecipe):
    """How a network learns from images: AdamW with one-cycle learning rates and gradients of at most norm 5.

    Attributes:
        batch_size: images per step.
        learning_rate: peak.
        weight_decay: of matrices and kernels.
        noise: largest standard deviation of the normal noise on each image, in pixels of [0, 1]; drawn for each.
        autocast: whether to compute in bfloat16; convolutions per channel are slower in it on a CPU.
    """

    batch_size: int
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    noise: float
    autocast: bool = True


def with_noise(images: Tensor, most: float, rng: torch.Generator) -> Tensor:
    """Add normal noise of a strength from 0 to ``most`` to each image ``[B, C, H, W]`` in [0, 1]."""
    if not most:
        return images
    strength = most * torch.rand(len(images), 1, 1, 1, generator=rng)
    noise = strength * torch.randn(images.shape, generator=rng)
    return (images + noise.to(images.device)).clamp(0, 1)
