"""Scenes of real handwritten digits with captions whose length depends on what is in the image: no download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from torpor.core.errors import DataError, UsageError
from torpor.data.images import Digits
from torpor.data.sets import SPLITS, DataSet

SIDE = 64
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLORS = {"red": (230, 50, 45), "green": (50, 205, 70), "blue": (80, 125, 240), "yellow": (240, 220, 50)}
COLORS["white"] = (240, 240, 240)
SIZES = {"small": (11, 12), "": (15,), "large": (19, 20)}
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
COUNTS = (0.34, 0.3, 0.2, 0.1, 0.06)
"""How often a scene has 1, 2, ... digits."""
ANYWHERE = (13, 50)
"""Where the middle line of a scene's only row is, in pixels from the top."""
UPPER_AND_LOWER = ((13, 18), (45, 50))
"""Where the middle lines of two rows are."""
JITTER = 3
"""How far a digit's middle is from its row's, in pixels."""


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
    """What is in an image.

    Attributes:
        rows: one or two rows of 1 to 3 digits, in reading order.
        texture: of the background, one of ``TEXTURES``.
    """

    rows: tuple[tuple[Thing, ...], ...]
    texture: str

    def caption(self) -> str:
        """Return the scene in words.

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
    (see :class:`torpor.data.images.Digits`), so no person's "three" is in both training and test scenes.

    Args:
        train: scenes in the training split; as many as wanted can be drawn.
        held_out: scenes in the validation split, and in the test split.

    >>> Scenes().load("test", 1).references[0]
    'a small green seven .'
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
        """Yield ``(image uint8 [3, 64, 64], caption)``.

        Raises:
            DataError: if the split does not exist.
        """
        for index in range(self._size(split)):
            yield self.image(split, index)

    def scene(self, split: str, index: int) -> Scene:
        """Return what is in image ``index`` of ``split``."""
        return self._draw(split, index)[0]

    def image(self, split: str, index: int) -> tuple[Tensor, str]:
        """Return image ``index`` of ``split``, uint8 ``[3, 64, 64]``, and its caption."""
        scene, rng = self._draw(split, index)
        return torch.from_numpy(_paint(scene, split, rng)), scene.caption()

    def _size(self, split: str) -> int:
        if split not in self.sizes:
            raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
        return self.sizes[split]

    def _draw(self, split: str, index: int) -> tuple[Scene, Generator]:
        if not 0 <= index < self._size(split):
            raise DataError(f"expected a scene number from 0 to {self._size(split) - 1}, got {index}")
        rng = np.random.default_rng((SPLITS.index(split), index))
        count = 1 + int(np.searchsorted(np.cumsum(COUNTS), rng.random()))
        upper = 1 if count == 1 else int(rng.integers(max(1, count - 3), min(3, count) + 1))
        counts = [part for part in (upper, count - upper) if part]
        heights = UPPER_AND_LOWER if len(counts) == 2 else (ANYWHERE,)
        rows = tuple(_row(split, rng, *row) for row in zip(counts, heights, strict=True))
        texture = _pick(rng, TEXTURES) if rng.random() < 0.6 else ""
        return Scene(rows, texture), rng


def _row(split: str, rng: Generator, count: int, height: tuple[int, int]) -> tuple[Thing, ...]:
    """Place ``count`` digits beside each other around a line between the two ends of ``height``."""
    sizes = [_pick(rng, tuple(SIZES)) for _ in range(count)]
    sides = [_pick(rng, SIZES[size]) for size in sizes]
    free = SIDE - sum(sides) - (count - 1)  # beside one pixel between neighbors
    places = sorted(rng.integers(free + 1, size=count).tolist())
    middle = int(rng.integers(height[0], height[1] + 1))
    labels, _ = _handwriting(split)
    things = []
    for number, (size, side, place) in enumerate(zip(sizes, sides, places, strict=True)):
        image = int(rng.integers(len(labels)))
        top = middle + int(rng.integers(-JITTER, JITTER + 1)) - side // 2
        left = place + number + sum(sides[:number])
        color = _pick(rng, tuple(COLORS))
        things.append(Thing(image, labels[image], color, size, side, left, top))
    return tuple(things)


def _paint(scene: Scene, split: str, rng: Generator) -> NDArray[np.uint8]:
    """Paint digits with a little variation of color on a dark background with texture and noise, in integers."""
    noise = np.frombuffer(rng.bytes(3 * SIDE * SIDE), np.uint8).reshape(3, SIDE, SIDE) >> 3
    canvas: NDArray[np.uint8] = noise + rng.integers(15, 46, (3, 1, 1), np.uint8)
    canvas += 28 * _texture(scene.texture, *rng.integers(8, size=2).tolist())
    _, inks = _handwriting(split)
    for thing in (thing for row in scene.rows for thing in row):
        ink = inks[thing.side][thing.image].astype(np.int32)
        color = (np.array(COLORS[thing.color]) * rng.integers(85, 105, 3) // 100)[:, None, None]
        place = np.s_[:, thing.top : thing.top + thing.side, thing.left : thing.left + thing.side]
        canvas[place] = (canvas[place] * (255 - ink) + color * ink) // 255
    return canvas


@cache
def _handwriting(split: str) -> tuple[list[int], dict[int, NDArray[np.uint8]]]:
    """Return the labels of a split's handwritten digits, and their opacity at every side, ``[N, side, side]``."""
    digits = Digits().load(split)
    return digits.references.tolist(), {side: _ink(digits.inputs, side) for pair in SIZES.values() for side in pair}


def _pick(rng: Generator, values: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever the values are
    return values[int(rng.integers(len(values)))]


def _texture(name: str, right: int, down: int) -> NDArray[np.uint8]:
    """Return a pattern of zeros and ones, ``[64, 64]``."""
    rows, columns = down + np.arange(SIDE)[:, None], right + np.arange(SIDE)
    pattern = {"striped": (rows + columns) // 4, "checkered": rows // 4 + columns // 4}.get(name, 0 * rows)
    return np.asarray(pattern % 2, dtype=np.uint8)


def _ink(images: Tensor, side: int) -> NDArray[np.uint8]:
    """Scale digits ``[N, 1, 32, 32]`` and raise their contrast, so that loops stay open."""
    scaled = F.interpolate(images.float(), (side, side), mode="bilinear", antialias=True)
    return np.asarray((scaled[:, 0] * 1.4 - 60).round().clamp(0, 255).to(torch.uint8).numpy())
