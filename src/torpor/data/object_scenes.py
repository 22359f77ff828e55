"""Scenes of digits and CIFAR-10 objects on photographs, with exact boxes: data for detectors, without a download."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from torpor.core.errors import DataError, UsageError
from torpor.core.objects import Objects
from torpor.data.images import ImageSet
from torpor.data.photos import View
from torpor.data.sets import SPLITS, DataSet
from torpor.data.sprites import Painting, draw_sprite

HEIGHT, WIDTH = 128, 192
COUNTS = (0.06, 0.2, 0.22, 0.2, 0.14, 0.1, 0.08)
"""How often 0, 1, 2, ... sprites are put on a background."""
CROWDED = 0.25
"""Places are drawn again, a few times, where more than this share of a sprite would be in another one's square."""
TRIES = 8


class ObjectScenes(DataSet):
    """Sprites on photographs, uint8 ``[3, 128, 192]``, and what can be seen of them, as :class:`Objects`.

    Each scene is a function of its split and number alone. Splits share neither handwriting nor photos.

    Args:
        photos: pictures to put beside digits, such as CIFAR-10; their classes follow the digits'. Digits only if None.
        train: scenes in the training split; as many as wanted can be drawn.
        held_out: scenes in the validation split, and in the test split.

    >>> ObjectScenes().load("test", 2).references[1].labels.tolist()
    [3]
    """

    def __init__(self, photos: ImageSet | None = None, train: int = 20_000, held_out: int = 500) -> None:
        if train < 1 or held_out < 1:
            raise UsageError(f"expected 1 scene or more in each split, got {train} and {held_out}")
        self.photos, self.name = photos, "object-scenes" if photos is None else f"object-scenes with {photos.name}"
        self.sizes = {"train": train, "validation": held_out, "test": held_out}

    def fingerprint(self) -> str:
        """Return the name, the number of scenes, and what the photos' own set says."""
        own = f"{self.name} {self.sizes['train']} {self.sizes['test']}"
        return own if self.photos is None else f"{own} {self.photos.fingerprint()}"

    def samples(self, split: str) -> Iterator[tuple[Tensor, Objects]]:
        """Yield ``(picture uint8 [3, 128, 192], objects)``.

        Raises:
            DataError: if the split does not exist.
        """
        for number in range(self.sizes.get(split, 1)):
            yield self.scene(split, number)

    def scene(self, split: str, number: int) -> tuple[Tensor, Objects]:
        """Return picture ``number`` of ``split``, uint8 ``[3, 128, 192]``, and what is in it.

        Raises:
            DataError: if the split does not exist.
        """
        painting = self.paint(split, number)
        return torch.from_numpy(painting.pixels), painting.objects()

    def paint(self, split: str, number: int) -> Painting:
        """Return picture ``number`` of ``split`` with all sprites that were put on it."""
        chance = random_numbers(split, number)
        painting = Painting(View(split, HEIGHT, WIDTH, chance).at(0))
        places: list[tuple[int, int, int]] = []
        for _ in range(int(np.searchsorted(np.cumsum(COUNTS), chance.random()))):
            sprite = draw_sprite(split, self.photos, chance)
            left, top = _place(len(sprite.opacity), places, chance)
            places.append((left, top, len(sprite.opacity)))
            painting.put(sprite, left, top)
        return painting


def random_numbers(split: str, number: int) -> Generator:
    """Return the generator of sample ``number`` of ``split``.

    Raises:
        DataError: if there is no such sample.
    """
    if split not in SPLITS:
        raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
    if number < 0:
        raise DataError(f"expected a number of 0 or more, got {number}")
    return np.random.default_rng((SPLITS.index(split), number))


def _place(side: int, others: list[tuple[int, int, int]], chance: Generator) -> tuple[int, int]:
    """Return left and top of a square that may stick out of the picture by a quarter."""
    out = side // 4
    left = top = 0
    for _ in range(TRIES):
        left, top = int(chance.integers(-out, WIDTH - side + out + 1)), int(chance.integers(-out, HEIGHT - side + out + 1))
        if all(_shared(left, top, side, *other) <= CROWDED for other in others):
            break
    return left, top


def _shared(left: int, top: int, side: int, other_left: int, other_top: int, other_side: int) -> float:
    """Return the overlap of two squares as a share of the smaller one."""
    across = min(left + side, other_left + other_side) - max(left, other_left)
    down = min(top + side, other_top + other_side) - max(top, other_top)
    return max(across, 0) * max(down, 0) / min(side, other_side) ** 2
