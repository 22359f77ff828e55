"""Scenes of real handwritten digits with captions whose length depends on what is in the picture: no download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from torpor.core.errors import DataError, UsageError
from torpor.data.digits import Digits
from torpor.data.sets import SPLITS, DataSet

SIDE = 64
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLORS = {"red": (230, 50, 45), "green": (50, 205, 70), "blue": (80, 125, 255), "yellow": (240, 220, 50)}
COLORS["white"] = (245, 245, 245)
SIZES = {"small": (10, 11), "": (14, 15), "large": (19, 20)}
"""Sides in pixels; a digit of middle size is just "a red three"."""
TEXTURES = ("", "striped", "checkered")
WORDS = (
    *NUMBERS,
    *COLORS,
    "small",
    "large",
    *TEXTURES[1:],
    *("a", "left", "of", "and", "above", "on", "background", "."),
)
"""Every word that a caption can hold."""
COUNTS = (0.3, 0.28, 0.22, 0.12, 0.08)
"""How often a scene has 1, 2, ... digits."""


@dataclass(frozen=True)
class Thing:
    """A digit in a scene.

    Attributes:
        image: its number among the split's handwritten digits.
        digit: what it reads, 0 to 9.
        color: a key of ``COLORS``.
        size: a key of ``SIZES``.
        side: height and width in pixels.
        left: of its square, in pixels.
        top: of its square, in pixels.
    """

    image: int
    digit: int
    color: str
    size: str
    side: int
    left: int
    top: int


@dataclass(frozen=True)
class Scene:
    """What is in a picture.

    Attributes:
        rows: one or two rows of 1 to 3 digits, in reading order.
        texture: of the background, one of ``TEXTURES``.
    """

    rows: tuple[tuple[Thing, ...], ...]
    texture: str

    def caption(self) -> str:
        """Say it in words.

        >>> three = Thing(image=0, digit=3, color="red", size="large", side=20, left=2, top=3)
        >>> one = Thing(image=0, digit=1, color="blue", size="", side=14, left=40, top=5)
        >>> Scene(((three, one),), "").caption()
        'a large red three left of a blue one .'
        """
        rows = []
        for row in self.rows:
            names = [" ".join(("a", thing.size, thing.color, NUMBERS[thing.digit])) for thing in row]
            rows.append(names[0] + (f" left of {' and '.join(names[1:])}" if names[1:] else ""))
        ground = f" on a {self.texture} background" if self.texture else ""
        return " ".join(f"{' above '.join(rows)}{ground} .".split())


class Scenes(DataSet):
    """One to five handwritten digits in color on a noisy background, uint8 ``[3, 64, 64]``, and a caption.

    Each scene is a function of its split and number alone. A split's scenes show only that split's handwritten digits
    (see :class:`torpor.data.digits.Digits`), so nobody's "three" is in both training and test scenes.

    Args:
        train: scenes in the training split; as many as wanted can be drawn.
        held_out: scenes in the validation split, and in the test split.

    >>> Scenes().load("test", 3).references[2]
    'a white four .'
    """

    name = "scenes"

    def __init__(self, train: int = 20_000, held_out: int = 500) -> None:
        if train < 1 or held_out < 1:
            raise UsageError(f"expected 1 scene or more in each split, got {train} and {held_out}")
        self.sizes = {"train": train, "validation": held_out, "test": held_out}

    def fingerprint(self) -> str:
        """Return the name and the number of scenes."""
        return f"{self.name} {self.sizes['train']} {self.sizes['test']}"

    def samples(self, split: str) -> Iterator[tuple[Tensor, str]]:
        """Yield ``(picture uint8 [3, 64, 64], caption)``.

        Raises:
            DataError: if the split does not exist.
        """
        for index in range(self._size(split)):
            yield self.picture(split, index)

    def scene(self, split: str, index: int) -> Scene:
        """Return what is in picture ``index`` of ``split``."""
        return self._draw(split, index)[0]

    def picture(self, split: str, index: int) -> tuple[Tensor, str]:
        """Return picture ``index`` of ``split``, uint8 ``[3, 64, 64]``, and its caption."""
        scene, chance = self._draw(split, index)
        return torch.from_numpy(self._paint(scene, split, chance)), scene.caption()

    def _size(self, split: str) -> int:
        if split not in self.sizes:
            raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
        return self.sizes[split]

    def _draw(self, split: str, index: int) -> tuple[Scene, Generator]:
        if not 0 <= index < self._size(split):
            raise DataError(f"expected a scene number below {self._size(split)}, got {index}")
        chance = np.random.default_rng((SPLITS.index(split), index))
        count = int(chance.choice(len(COUNTS), p=COUNTS)) + 1
        upper = count if count == 1 else int(chance.integers(max(1, count - 3), min(3, count) + 1))
        counts = [part for part in (upper, count - upper) if part]
        rows = tuple(self._row(split, chance, part, number, len(counts)) for number, part in enumerate(counts))
        return Scene(rows, TEXTURES[chance.choice(len(TEXTURES), p=(0.6, 0.2, 0.2))]), chance

    def _row(self, split: str, chance: Generator, count: int, number: int, rows: int) -> tuple[Thing, ...]:
        """Place ``count`` digits beside each other in row ``number``, which is 64 or 32 pixels high."""
        sizes = [list(SIZES)[size] for size in chance.integers(len(SIZES), size=count)]
        sides = [int(chance.choice(SIZES[size])) for size in sizes]
        free = SIDE - sum(sides) - (count - 1)  # beside one pixel between neighbors
        gaps = np.diff(np.sort(chance.integers(free + 1, size=count)), prepend=0)
        left, things = 0, []
        for size, side, gap in zip(sizes, sides, gaps.tolist(), strict=True):
            image = int(chance.integers(len(self._labels[split])))
            top = number * (SIDE // rows) + int(chance.integers(SIDE // rows - side + 1))
            color = str(chance.choice(list(COLORS)))
            things.append(Thing(image, self._labels[split][image], color, size, side, left + gap, top))
            left += gap + side + 1
        return tuple(things)

    def _paint(self, scene: Scene, split: str, chance: Generator) -> NDArray[np.uint8]:
        """Paint digits with a little variation of color on a dark background with texture and noise."""
        across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
        shift = chance.integers(8, size=2)
        waves = {
            "": np.zeros((SIDE, SIDE)),
            "striped": (across + down + shift[0]) // 4 % 2,
            "checkered": ((across + shift[0]) // 4 + (down + shift[1]) // 4) % 2,
        }
        canvas = 45 + chance.uniform(-15, 15, (3, 1, 1)) + 28 * waves[scene.texture]
        canvas = canvas + chance.normal(0, 8, (3, SIDE, SIDE))
        for thing in (thing for row in scene.rows for thing in row):
            ink = self._ink[split][thing.side][thing.image]
            place = np.s_[:, thing.top : thing.top + thing.side, thing.left : thing.left + thing.side]
            color = np.array(COLORS[thing.color]) * chance.uniform(0.85, 1.05, 3)
            canvas[place] = canvas[place] * (1 - ink) + color[:, None, None] * ink
        return canvas.round().clip(0, 255).astype(np.uint8)

    @cached_property
    def _labels(self) -> dict[str, list[int]]:
        return {split: labels for split, (_, labels) in self._digits.items()}

    @cached_property
    def _digits(self) -> dict[str, tuple[Tensor, list[int]]]:
        parts = {split: Digits().load(split) for split in SPLITS}
        return {split: (part.inputs.float() / 255, part.references.tolist()) for split, part in parts.items()}

    @cached_property
    def _ink(self) -> dict[str, dict[int, NDArray[Any]]]:
        """Opacity of every handwritten digit of a split at every side, ``[N, side, side]`` in [0, 1]."""
        sides = [side for pair in SIZES.values() for side in pair]
        return {split: {side: _scale(images, side) for side in sides} for split, (images, _) in self._digits.items()}


def _scale(images: Tensor, side: int) -> NDArray[Any]:
    scaled = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    return np.asarray((scaled[:, 0] * 1.25).clamp(0, 1).numpy())
