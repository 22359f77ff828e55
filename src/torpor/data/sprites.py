"""Things to put on backgrounds, each with the class it shows: handwritten digits in color, and CIFAR-10 photos."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from torpor.core.objects import Objects
from torpor.data.cifar10 import CIFAR10_CLASSES
from torpor.data.images import Digits, ImageSet
from torpor.data.scenes import COLORS, NUMBERS

CLASSES = (*NUMBERS, *CIFAR10_CLASSES)
"""What a sprite can show: digits, then the objects of CIFAR-10."""
DIGIT_SIDES = (18, 44)
"""Height and width of a digit's square in pixels, at least and at most; a digit fills its height, not its width."""
PHOTO_SIDES = (24, 44)
"""Height and width of a photo in pixels, at least and at most."""
INK = 128
"""A pixel belongs to a sprite if the sprite is at least this opaque there, out of 255."""
VISIBLE = 0.4
"""An object is there if this share of it is seen: inside of the image, and not covered."""
_DIGITS = Digits()


@dataclass(frozen=True, eq=False)
class Sprite:
    """One thing.

    Attributes:
        label: index into ``CLASSES``.
        source: number of its image among those of its kind and split.
        pixels: uint8 ``[3, S, S]``.
        opacity: uint8 ``[S, S]``.
    """

    label: int
    source: int
    pixels: NDArray[np.uint8]
    opacity: NDArray[np.uint8]

    @property
    def ink(self) -> NDArray[np.bool_]:
        """Which pixels belong to it, bool ``[S, S]``."""
        return self.opacity >= INK


def draw_sprite(split: str, photos: ImageSet | None, rng: Generator) -> Sprite:
    """Draw a digit of ``split`` or, where there are any, as often one of its ``photos``."""
    if photos is not None and rng.random() < 0.5:
        return _photo(split, photos, rng)
    labels, images = _images(_DIGITS, split)
    source, side = int(rng.integers(len(labels))), int(rng.integers(DIGIT_SIDES[0], DIGIT_SIDES[1] + 1))
    gray = Image.fromarray(images[source][0]).resize((side, side), Image.Resampling.BILINEAR)
    opacity = np.clip(np.asarray(gray, np.int32) * 8 // 5 - 100, 0, 255).astype(np.uint8)
    color = np.array(list(COLORS.values()))[int(rng.integers(len(COLORS)))] * rng.integers(85, 105, 3) // 100
    pixels = np.broadcast_to(color.astype(np.uint8)[:, None, None], (3, side, side))
    return Sprite(labels[source], source, pixels, opacity)


def _photo(split: str, photos: ImageSet, rng: Generator) -> Sprite:
    labels, images = _images(photos, split)
    source, side = int(rng.integers(len(labels))), int(rng.integers(PHOTO_SIDES[0], PHOTO_SIDES[1] + 1))
    pixels = images[source].transpose(1, 2, 0)[:, :: -1 if rng.random() < 0.5 else 1]
    scaled = Image.fromarray(np.ascontiguousarray(pixels)).resize((side, side), Image.Resampling.BILINEAR)
    opaque = np.full((side, side), 255, np.uint8)
    return Sprite(len(NUMBERS) + labels[source], source, np.asarray(scaled).transpose(2, 0, 1), opaque)


@lru_cache(maxsize=8)
def _images(data: ImageSet, split: str) -> tuple[list[int], NDArray[np.uint8]]:
    """Return labels and images of a split; they are decoded once."""
    batch = data.load(split)
    return batch.references.tolist(), batch.inputs.numpy()


class Painting:
    """An image under construction, and what is where in it.

    Args:
        background: uint8 ``[3, H, W]``, painted over.
    """

    def __init__(self, background: NDArray[np.uint8]) -> None:
        self.pixels = background
        self.owner: NDArray[np.int16] = np.full(background.shape[1:], -1, np.int16)
        self.sprites: list[Sprite] = []

    def put(self, sprite: Sprite, left: int, top: int) -> None:
        """Paint ``sprite`` over everything before; parts outside of the image are cut off."""
        number, side = len(self.sprites), len(sprite.opacity)
        self.sprites.append(sprite)
        height, width = self.owner.shape
        first, last = np.clip([top, top + side], 0, height).tolist()
        start, end = np.clip([left, left + side], 0, width).tolist()
        place, part = np.s_[first:last, start:end], np.s_[first - top : last - top, start - left : end - left]
        opacity = sprite.opacity[part].astype(np.int32)
        under, over = self.pixels[:, *place], sprite.pixels[:, *part]
        under[:] = (under * (255 - opacity) + over * opacity) // 255
        self.owner[place][sprite.ink[part]] = number

    def objects(self, ids: bool = False) -> Objects:
        """Return what is seen of each sprite, tight boxes; with ``ids``, its number.

        A sprite of which less than ``VISIBLE`` is seen is left out.
        """
        boxes, numbers = [], []
        for number, sprite in enumerate(self.sprites):
            seen = self.owner == number
            if seen.sum() < max(1, VISIBLE * sprite.ink.sum()):
                continue
            rows, columns = seen.any(1).nonzero()[0], seen.any(0).nonzero()[0]
            boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            numbers.append(number)
        labels = torch.tensor([self.sprites[number].label for number in numbers], dtype=torch.int64)
        found = torch.tensor(np.array(boxes, np.float32).reshape(-1, 4))
        return Objects(found, labels, ids=torch.tensor(numbers, dtype=torch.int64) if ids else None)
