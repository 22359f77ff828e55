"""A user's own inputs: texts, a line or a file each, or image files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torpor.core.errors import DataError, UsageError
from torpor.core.space import ImageSpace, InputSpace
from torpor.core.text import TextSpace
from torpor.data.sets import SPLITS, DataSet
from torpor.data.texts import TextLines

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def own_inputs(path: Path, space: InputSpace) -> DataSet:
    """Return what lies at ``path`` as the kind of inputs that ``space`` holds.

    Raises:
        UsageError: if there is nothing, or the inputs are neither texts nor images.
    """
    if not path.exists():
        raise UsageError(f"expected a file or a folder of inputs, got {path}: no such file; check --inputs")
    if isinstance(space, TextSpace):
        return TextLines(path)
    if isinstance(space, ImageSpace):
        return ImageFiles(path, space.shape)
    raise UsageError(f"expected a target of texts or images with --inputs, got one of {space.kind}s; leave it out")


class ImageFiles(DataSet):
    """One image file, or all in a folder by name, scaled to the size that a target reads. There are no references.

    Args:
        path: the file or the folder.
        shape: ``(C, H, W)`` of what the target reads; C is 1 or 3.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape, self.name = path, shape, path.name

    def fingerprint(self) -> str:
        """Return the name, the number of files and their size in bytes."""
        files = self._files()
        return f"{self.name} {len(files)} {sum(file.stat().st_size for file in files)}"

    def samples(self, split: str) -> Iterator[tuple[Tensor, None]]:
        """Yield ``(image uint8 [C, H, W], None)``.

        Raises:
            UsageError: if ``split`` does not exist.
            DataError: if it is not ``test``, or if a file is no image.
        """
        if split not in SPLITS:
            raise UsageError(f"expected one of {', '.join(SPLITS)}, got split {split!r}")
        if split != "test":
            raise DataError(f"expected split test, got {split}; {self.path} holds images to audit, none to fit on")
        if not self._files():
            raise DataError(f"expected images ({', '.join(SUFFIXES)}) in {self.path}, got none; pass another folder")
        for file in self._files():
            yield self._read(file), None

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        return sorted(file for file in self.path.iterdir() if file.suffix.lower() in SUFFIXES)

    def _read(self, file: Path) -> Tensor:
        from PIL import Image

        channels, height, width = self.shape
        try:
            with Image.open(file) as image:
                scaled = image.convert("L" if channels == 1 else "RGB").resize((width, height))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"expected an image, got {file}: {error}; remove or repair it") from error
        pixels = torch.from_numpy(np.asarray(scaled).copy())
        return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
