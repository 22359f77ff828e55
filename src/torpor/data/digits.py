"""Handwritten digits that scikit-learn carries (UCI Optical Recognition of Handwritten Digits): no download."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.data.images import ImageSet

SIZE = 32
PARTS = {"train": (0, 1079), "validation": (1079, 1438), "test": (1438, 1797)}  # of a fixed random order


class Digits(ImageSet):
    """1,797 digits, 8 x 8 with 17 gray levels, enlarged bilinearly to ``[1, 32, 32]`` uint8.

    >>> images = Digits().load("test")
    >>> tuple(images.inputs.shape), images.inputs.dtype
    ((359, 1, 32, 32), torch.uint8)
    """

    name = "digits"
    classes = tuple("0123456789")

    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        """Yield the digits of ``split``, in a fixed random order, since the set cycles through the classes."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        first, last = PARTS[split]
        for index in np.random.default_rng(0).permutation(len(labels))[first:last]:
            small = torch.tensor(pixels[index], dtype=torch.float32).view(1, 1, 8, 8) * (255 / 16)
            large = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
            yield large[0].round().to(torch.uint8), int(labels[index])
