"""What generated scenes and videos have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from torch import Tensor
from typing_extensions import override

from torpor.core.errors import DataError, UsageError
from torpor.data.images import ImageSet
from torpor.data.sets import SPLITS, DataSet

HEIGHT, WIDTH = 128, 192
"""Of a scene or frame, in pixels."""


class SpriteSet(DataSet):
    """Samples made of sprites on photographs, each a function of its split and number alone.

    Splits share neither handwriting nor photos.

    Args:
        photos: images to put beside digits, such as CIFAR-10; their classes follow the digits'. Digits only if None.
        train: samples in the training split; as many as wanted can be drawn.
        held_out: samples in the validation split, and in the test split.
    """

    kind: ClassVar[str]

    def __init__(self, photos: ImageSet | None, train: int, held_out: int) -> None:
        if train < 1 or held_out < 1:
            raise UsageError(f"expected 1 sample or more in each split, got {train} and {held_out}")
        self.photos, self.name = photos, self.kind if photos is None else f"{self.kind} with {photos.name}"
        self.sizes = {"train": train, "validation": held_out, "test": held_out}

    def fingerprint(self) -> str:
        """Return the name, the number of samples, and the fingerprint of the photos' own set."""
        own = f"{self.name} {self.sizes['train']} {self.sizes['test']}"
        return own if self.photos is None else f"{own} {self.photos.fingerprint()}"

    @override
    def files(self) -> Mapping[str, Path]:
        return {} if self.photos is None else self.photos.files()

    @abstractmethod
    def sample(self, split: str, number: int) -> tuple[Tensor, Any]:
        """Return sample ``number`` of ``split`` as it is stored, and its objects.

        Raises:
            DataError: if there is no such sample, or photos cannot be read.
            UsageError: if scikit-image is missing.
        """

    def samples(self, split: str) -> Iterator[tuple[Tensor, Any]]:
        """Yield the samples of ``split``; see :meth:`sample`."""
        for number in range(self.sizes.get(split, 1)):
            yield self.sample(split, number)


def random_numbers(split: str, number: int) -> Generator:
    """Return the generator of sample ``number`` of ``split``.

    Raises:
        DataError: if there is no such sample.
    """
    if split not in SPLITS:
        raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
    if number < 0:
        raise DataError(f"expected a sample number of 0 or more, got {number}")
    return np.random.default_rng((SPLITS.index(split), number))
