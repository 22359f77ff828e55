"""Features of any dense input, for targets without a known network that reads it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

SIDE = 8
"""Images, or sounds, that no known network sees are pooled to this many values per side."""


def pooled(inputs: Tensor) -> Tensor:
    """Return images, spectra or sounds pooled to :data:`SIDE` values per side, ``[R, F]``; of videos, each frame.

    >>> import torch
    >>> [tuple(pooled(torch.zeros(shape)).shape) for shape in ((2, 3, 32, 16), (2, 100), (2, 5, 1, 9, 9))]
    [(2, 192), (2, 8), (10, 64)]
    """
    if inputs.ndim == 2:
        return F.adaptive_avg_pool1d(inputs, SIDE)
    frames = inputs.flatten(0, 1) if inputs.ndim == 5 else inputs
    return F.adaptive_avg_pool2d(frames, SIDE).flatten(1)
