"""Images for other people's detectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_images(shape: tuple[int, int, int], count: int = 2) -> Tensor:
    """Return clouds with noise, the same each time, ``[B, 3, H, W]``."""
    rng = torch.Generator().manual_seed(1)
    clouds = F.interpolate(torch.rand(count, 3, 7, 5, generator=rng), shape[1:], mode="bilinear")
    return ((0.6 * clouds + 0.4 * torch.rand(count, *shape, generator=rng)) * 255).round() / 255
