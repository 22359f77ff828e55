"""Input spaces: which tensors are inputs that somebody could really send."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.errors import DataError


@dataclass(frozen=True)
class ImageSpace:
    """Images in [0, 1] whose pixels are stored as 8-bit integers.

    Attributes:
        shape: ``(C, H, W)`` of one image.
        levels: steps between 0 and 1; 255 for 8-bit pixels.

    >>> space = ImageSpace((1, 1, 2))
    >>> space.to_bytes(space.from_bytes(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))).tolist()
    [[[[0, 255]]]]
    """

    shape: tuple[int, int, int]
    levels: int = 255

    def check(self, inputs: Tensor) -> Tensor:
        """Return ``inputs`` if they are floats ``[B, C, H, W]`` in [0, 1].

        Raises:
            DataError: on another shape or type, NaN, infinity, or pixels out of range.
        """
        if inputs.ndim != 4 or tuple(inputs.shape[1:]) != self.shape:
            raise DataError(
                f"expected images of shape [B, {', '.join(map(str, self.shape))}], got {list(inputs.shape)}"
            )
        if not inputs.is_floating_point():
            raise DataError(f"expected floating-point images in [0, 1], got {inputs.dtype}; divide bytes by 255")
        if len(inputs) == 0:
            raise DataError("expected at least one image, got an empty batch")
        low, high = (bound.item() for bound in inputs.detach().aminmax())
        if not (low >= 0 and high <= 1):  # NaN fails both
            raise DataError(
                f"expected pixels in [0, 1], got values from {low:g} to {high:g}; scale or clean the images"
            )
        return inputs

    def snap(self, inputs: Tensor) -> Tensor:
        """Round to the nearest image that 8-bit pixels can hold."""
        return (inputs.clamp(0, 1) * self.levels).round() / self.levels

    def to_bytes(self, inputs: Tensor) -> Tensor:
        """Return pixels as uint8."""
        return (inputs.clamp(0, 1) * self.levels).round().to(torch.uint8)

    def from_bytes(self, pixels: Tensor) -> Tensor:
        """Return uint8 pixels as float32 in [0, 1]."""
        return pixels.to(torch.float32) / self.levels
