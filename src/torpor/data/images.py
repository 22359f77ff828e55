"""Labeled image sets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from torpor.data.sets import DataSet


class ImageSet(DataSet):
    """Images with classes, in three disjoint splits."""

    classes: tuple[str, ...]

    @abstractmethod
    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        """Yield ``(image uint8 [C, H, W], label)`` in a fixed order.

        Raises:
            DataError: if the split cannot be read.
        """


def to_unit(images: Tensor) -> Tensor:
    """Map uint8 pixels to float32 in [0, 1].

    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return images.to(torch.float32) / 255
