"""How large the change of an image is that belongs in a patch at its top left."""

from __future__ import annotations

import torch
from torch import Tensor


def covered(change: Tensor) -> Tensor:
    """Return the share of the area of the least top left rectangle that has all changes ``[N, C, H, W]``, ``[N]``."""
    height, width = change.shape[-2:]
    moved = (change != 0).any(1)
    rows = (moved.any(2) * torch.arange(1, height + 1)).amax(1)
    columns = (moved.any(1) * torch.arange(1, width + 1)).amax(1)
    return rows * columns / (height * width)
