"""Scenes of digits and CIFAR-10 objects on photographs, with exact boxes: data for detectors, without a download."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from torpor.core.objects import Objects
from torpor.data.images import ImageSet
from torpor.data.photos import View
from torpor.data.sprite_sets import HEIGHT, WIDTH, SpriteSet, random_numbers
from torpor.data.sprites import Painting, draw_sprite

COUNTS = (0.06, 0.2, 0.22, 0.2, 0.14, 0.1, 0.08)
"""How often 0, 1, 2, ... sprites are put on a background."""
CROWDED = 0.25
"""Places are drawn again, a few times, where more than this share of a sprite would be in another one's square."""
TRIES = 8


class ObjectScenes(SpriteSet):
    """Sprites on photographs, uint8 ``[3, 128, 192]``, and what can be seen of them, as :class:`Objects`.

    Args:
        photos: see :class:`SpriteSet`.
        train: see :class:`SpriteSet`.
        held_out: see :class:`SpriteSet`.

    >>> ObjectScenes().sample("test", 1)[1].labels.tolist()
    [0, 1, 3, 1]
    """

    kind = "object-scenes"

    def __init__(self, photos: ImageSet | None = None, train: int = 20_000, held_out: int = 500) -> None:
        super().__init__(photos, train, held_out)

    def sample(self, split: str, number: int) -> tuple[Tensor, Objects]:
        """Return image ``number`` of ``split``, uint8 ``[3, 128, 192]``, and its objects."""
        painting = self.paint(split, number)
        return torch.from_numpy(painting.pixels), painting.objects()

    def paint(self, split: str, number: int) -> Painting:
        """Return image ``number`` of ``split`` with all sprites that were put on it."""
        rng = random_numbers(split, number)
        painting = Painting(View(split, HEIGHT, WIDTH, rng).at(0))
        places: list[tuple[int, int, int]] = []
        for _ in range(int(np.searchsorted(np.cumsum(COUNTS), rng.random()))):
            sprite = draw_sprite(split, self.photos, rng)
            left, top = _place(len(sprite.opacity), places, rng)
            places.append((left, top, len(sprite.opacity)))
            painting.put(sprite, left, top)
        return painting


def _place(side: int, others: list[tuple[int, int, int]], rng: Generator) -> tuple[int, int]:
    """Return left and top of a square that may stick out of the image by a quarter."""
    out = side // 4
    left = top = 0
    for _ in range(TRIES):
        left, top = (int(rng.integers(-out, size - side + out + 1)) for size in (WIDTH, HEIGHT))
        if all(_shared(left, top, side, *other) <= CROWDED for other in others):
            break
    return left, top


def _shared(left: int, top: int, side: int, other_left: int, other_top: int, other_side: int) -> float:
    """Return the overlap of two squares as a share of the smaller one."""
    across = min(left + side, other_left + other_side) - max(left, other_left)
    down = min(top + side, other_top + other_side) - max(top, other_top)
    return max(across, 0) * max(down, 0) / min(side, other_side) ** 2
