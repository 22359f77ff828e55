"""Labeled image sets, handwritten digits among them, which need no download."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.data.sets import DataSet

if TYPE_CHECKING:
    from PIL.Image import Image

GRAY = 114
"""What fills the letterbox beside an image that keeps its proportions, as YOLO detectors are trained."""

DIGIT_SIZE = 32
DIGIT_PARTS = {"train": (0, 1079), "validation": (1079, 1438), "test": (1438, 1797)}  # of a fixed random order


class ImageSet(DataSet):
    """Images with classes, in three disjoint splits."""

    classes: tuple[str, ...]

    @abstractmethod
    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        """Yield ``(image uint8 [C, H, W], label)`` in a fixed order.

        Raises:
            DataError: if the split cannot be read.
        """


@dataclass(frozen=True)
class FittedImage:
    """An image as a target reads it.

    Attributes:
        pixels: uint8 ``[C, H, W]``.
        corner: ``(left, top)`` of the image in them.
        size: ``(width, height)`` that the image has in them.
    """

    pixels: Tensor
    corner: tuple[int, int]
    size: tuple[int, int]


def fitted(image: Image, shape: tuple[int, int, int], *, letterbox: bool) -> FittedImage:
    """Scale an image to the size that a target reads.

    Args:
        image: of any size.
        shape: ``(C, H, W)``; one channel reads gray, three read RGB.
        letterbox: whether it keeps its proportions, letterboxed with gray; else it is stretched.

    >>> from PIL import Image
    >>> fitted(Image.new("L", (8, 2)), (1, 4, 4), letterbox=True).pixels[0, :, 0].tolist()
    [114, 0, 114, 114]
    """
    from PIL import Image

    channels, height, width = shape
    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(width / image.width, height / image.height)
    kept = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    size = kept if letterbox else (width, height)
    corner = ((width - size[0]) // 2, (height - size[1]) // 2)
    canvas = Image.new(image.mode, (width, height), GRAY if channels == 1 else (GRAY, GRAY, GRAY))
    canvas.paste(image.resize(size), corner)
    pixels = torch.from_numpy(np.array(canvas)).view(height, width, channels).permute(2, 0, 1)
    return FittedImage(pixels, corner, size)


def to_unit(images: Tensor) -> Tensor:
    """Map uint8 pixels to float32 in [0, 1].

    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return images.to(torch.float32) / 255


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
        first, last = DIGIT_PARTS[split]
        for index in np.random.default_rng(0).permutation(len(labels))[first:last]:
            small = torch.tensor(pixels[index], dtype=torch.float32).view(1, 1, 8, 8) * (255 / 16)
            large = F.interpolate(small, size=(DIGIT_SIZE, DIGIT_SIZE), mode="bilinear", align_corners=False)
            yield large[0].round().to(torch.uint8), int(labels[index])
