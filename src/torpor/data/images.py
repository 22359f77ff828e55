"""Labeled image sets, read a batch at a time so that memory does not grow with the number of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageBatch:
    """A few labeled images.

    Attributes:
        index: position of each sample in its split, int64 ``[B]``.
        images: pixels, uint8 ``[B, C, H, W]``.
        labels: class numbers, int64 ``[B]``.
    """

    index: Tensor
    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.index)


class ImageSet(ABC):
    """Images in three disjoint splits: ``train`` to fit, ``validation`` to choose thresholds, ``test`` to report."""

    name: str
    classes: tuple[str, ...]

    def fingerprint(self) -> str:
        """Return what changes when the data do, as far as that is cheap to tell."""
        return self.name

    @abstractmethod
    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        """Yield ``(image uint8 [C, H, W], label)`` in a fixed order.

        Raises:
            DataError: if the split cannot be read.
        """

    def batches(self, split: str, batch_size: int, limit: int | None = None) -> Iterator[ImageBatch]:
        """Yield the first ``limit`` samples of ``split`` (all, if None) in batches of ``batch_size``.

        Raises:
            UsageError: if ``split`` does not exist.
            DataError: if it cannot be read.
        """
        if split not in SPLITS:
            raise UsageError(f"expected one of {', '.join(SPLITS)}, got split {split!r}")
        images: list[Tensor] = []
        labels: list[int] = []
        start = 0
        for number, (image, label) in enumerate(self.samples(split)):
            if limit is not None and number >= limit:
                break
            images.append(image)
            labels.append(label)
            if len(images) == batch_size:
                yield _batch(start, images, labels)
                start += len(images)
                images, labels = [], []
        if images:
            yield _batch(start, images, labels)

    def has(self, split: str) -> bool:
        """Tell whether ``split`` can be read and holds a sample."""
        try:
            return next(iter(self.samples(split)), None) is not None
        except DataError:
            return False

    def load(self, split: str, limit: int | None = None) -> ImageBatch:
        """Read the first ``limit`` samples of ``split`` (all, if None) into memory at once."""
        parts = list(self.batches(split, 1024, limit))
        if not parts:
            raise DataError(f"expected images in split {split!r} of {self.name}, got none")
        return ImageBatch(
            torch.cat([part.index for part in parts]),
            torch.cat([part.images for part in parts]),
            torch.cat([part.labels for part in parts]),
        )


def _batch(start: int, images: list[Tensor], labels: list[int]) -> ImageBatch:
    return ImageBatch(torch.arange(start, start + len(images)), torch.stack(images), torch.tensor(labels))


def to_unit(images: Tensor) -> Tensor:
    """Map uint8 pixels to float32 in [0, 1].

    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return images.to(torch.float32) / 255
