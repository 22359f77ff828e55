"""Videos of digits and CIFAR-10 objects that move over photographs, with exact boxes and numbers: data for trackers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from torpor.core.objects import Frames
from torpor.data.images import ImageSet
from torpor.data.photos import View
from torpor.data.sprite_sets import HEIGHT, WIDTH, SpriteSet, random_numbers
from torpor.data.sprites import Painting, Sprite, draw_sprite

LENGTH = 48
"""Frames in a video."""
COUNT = (3, 7)
"""Objects in a video, at least and at most; not all are there in every frame."""
SPEED = (0.5, 3.0)
"""Pixels per frame, at least and at most."""
SWAY = 4.0
"""How far an object is off its straight way at most, in pixels."""
PAN = 24.0
"""How far the camera moves from the first to the last frame at most, in pixels."""


@dataclass(frozen=True, eq=False)
class Mover:
    """A sprite on its way: straight on, swaying a little.

    Attributes:
        sprite: what it shows.
        meeting: x and y of its middle in the frame ``moment``, inside of the image.
        moment: see ``meeting``.
        velocity: in pixels per frame, x and y.
        sway: in pixels, x and y.
        period: of the sway, in frames.
    """

    sprite: Sprite
    meeting: tuple[float, float]
    moment: float
    velocity: tuple[float, float]
    sway: tuple[float, float]
    period: float

    def corner(self, frame: int) -> tuple[int, int]:
        """Return left and top in ``frame``; they may be outside of the image."""
        passed = frame - self.moment
        bend, half = np.sin(2 * np.pi * passed / self.period), len(self.sprite.opacity) / 2
        left, top = (
            round(float(start + speed * passed + sway * bend - half))
            for start, speed, sway in zip(self.meeting, self.velocity, self.sway, strict=True)
        )
        return left, top


class ObjectVideos(SpriteSet):
    """Sprites that enter, cross and leave, uint8 ``[48, 3, 128, 192]``, and what can be seen of them in each frame.

    An object has the same number in all frames of a video, and covers those of lower numbers.

    Args:
        photos: see :class:`SpriteSet`.
        train: see :class:`SpriteSet`.
        held_out: see :class:`SpriteSet`.

    >>> video, frames = ObjectVideos().sample("test", 0)
    >>> tuple(video.shape), len(frames)
    ((48, 3, 128, 192), 48)
    """

    kind = "object-videos"

    def __init__(self, photos: ImageSet | None = None, train: int = 200, held_out: int = 50) -> None:
        super().__init__(photos, train, held_out)

    def sample(self, split: str, number: int) -> tuple[Tensor, Frames]:
        """Return video ``number`` of ``split``, uint8 ``[48, 3, 128, 192]``, and the objects of each frame."""
        frames = list(self.paint(split, number))
        pixels = torch.from_numpy(np.stack([frame.pixels for frame in frames]))
        return pixels, tuple(frame.objects(ids=True) for frame in frames)

    def paint(self, split: str, number: int) -> Iterator[Painting]:
        """Yield the frames of video ``number`` of ``split`` with all sprites that were put on them."""
        rng = random_numbers(split, number)
        view = View(split, HEIGHT, WIDTH, rng, pan=PAN if rng.random() < 0.5 else 0.0)
        count = int(rng.integers(COUNT[0], COUNT[1] + 1))
        movers = [_mover(draw_sprite(split, self.photos, rng), rng) for _ in range(count)]
        for frame in range(LENGTH):
            painting = Painting(view.at(frame / (LENGTH - 1)))
            for mover in movers:
                painting.put(mover.sprite, *mover.corner(frame))
            yield painting


def _mover(sprite: Sprite, rng: Generator) -> Mover:
    """Send ``sprite`` in any direction through any point of the image, at any moment."""
    angle, speed, sway = rng.uniform(0, 2 * np.pi), rng.uniform(*SPEED), rng.uniform(0, SWAY)
    along, across = float(np.cos(angle)), float(np.sin(angle))
    return Mover(
        sprite,
        meeting=(rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)),
        moment=rng.uniform(0, LENGTH),
        velocity=(speed * along, speed * across),
        sway=(-sway * across, sway * along),
        period=rng.uniform(LENGTH / 2, LENGTH),
    )
