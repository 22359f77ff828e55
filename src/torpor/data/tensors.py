"""Labeled images that are already in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.errors import DataError
from torpor.data.images import ImageSet


class TensorImages(ImageSet):
    """Images given as tensors, one pair per split.

    Args:
        splits: split name to ``(images uint8 [N, C, H, W], labels int64 [N])``; splits must be disjoint.
        classes: names of the classes.
        name: of the data set.

    >>> data = TensorImages({"test": (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3))})
    >>> len(data.load("test", limit=2))
    2
    """

    def __init__(
        self, splits: Mapping[str, tuple[Tensor, Tensor]], classes: tuple[str, ...] = (), name: str = "tensors"
    ) -> None:
        for split, (images, labels) in splits.items():
            if images.dtype != torch.uint8 or images.ndim != 4 or len(images) != len(labels):
                raise DataError(
                    f"expected uint8 images [N, C, H, W] and as many labels in {split!r}, got {images.dtype} "
                    f"{list(images.shape)} and {len(labels)} labels"
                )
            if labels.dtype.is_floating_point or labels.ndim != 1:
                raise DataError(
                    f"expected labels of {split!r} as class numbers [N], got {labels.dtype} {list(labels.shape)}; "
                    "pass labels.long() if they are class numbers, argmax(1) of scores"
                )
        self.splits, self.classes, self.name = dict(splits), classes, name

    def fingerprint(self) -> str:
        """Return the name and a digest of all images and labels."""
        digest = hashlib.blake2b(digest_size=16)
        for split, pair in sorted(self.splits.items()):
            digest.update(split.encode())
            for tensor in pair:
                digest.update(tensor.contiguous().numpy().tobytes())
        return f"{self.name}:{digest.hexdigest()}"

    @override
    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        return self._rest(split, 0)

    @override
    def _rest(self, split: str, first: int) -> Iterator[tuple[Tensor, int]]:
        if split not in self.splits:
            raise DataError(f"expected a split among {', '.join(self.splits)}, got {split!r}")
        images, labels = (part[first:] for part in self.splits[split])
        for image, label in zip(images, labels.tolist(), strict=True):
            yield image, int(label)
