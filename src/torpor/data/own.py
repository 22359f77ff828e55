"""A user's own inputs: texts, a line or a file each, or lines of JSON; image files, or sound files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torpor.core.errors import DataError, UsageError
from torpor.core.files import require_file
from torpor.core.lazy import renamed_argument
from torpor.core.space import ImageSpace, InputSpace, WaveSpace
from torpor.core.text import TextSpace
from torpor.data.files import Files
from torpor.data.images import fitted
from torpor.data.sets import DataSet, Shortened
from torpor.data.texts import JsonLines, TextLines
from torpor.data.waves import read_wav


@renamed_argument("bars", "letterbox")
def own_inputs(path: Path, space: InputSpace, *, letterbox: bool = False) -> DataSet:
    """Return what lies at ``path`` as the kind of inputs that ``space`` holds.

    Args:
        path: a file or a folder.
        space: of the target.
        letterbox: whether images keep their proportions, letterboxed with gray; else they are stretched.

    Raises:
        UsageError: if there is nothing, or the inputs are neither texts nor images nor sounds.
    """
    if not path.exists() and not path.is_symlink():
        raise UsageError(f"expected a file or a folder of inputs, got {path}: no such file; check --inputs")
    if not path.is_dir():
        require_file(path)
    if isinstance(space, TextSpace):
        return JsonLines(path) if path.suffix.lower() in JsonLines.suffixes and not path.is_dir() else TextLines(path)
    if isinstance(space, ImageSpace):
        return ImageFiles(path, space.shape, letterbox=letterbox)
    if isinstance(space, WaveSpace):
        return SoundFiles(path, space.shape[0], space.rate)
    raise UsageError(
        f"expected a target of texts, images or sounds with --inputs, got one of {space.kind}s; leave it out"
    )


class ImageFiles(Files):
    """Images as a viewer shows them, scaled to the size that a target reads, uint8 ``[C, H, W]``.

    Args:
        path: the file or the folder.
        shape: ``(C, H, W)`` of what the target reads; C is 1 or 3.
        letterbox: whether they keep their proportions, letterboxed with gray; else they are stretched.
    """

    what, suffixes = "images", (".png", ".jpg", ".jpeg", ".bmp", ".webp")

    def __init__(self, path: Path, shape: tuple[int, int, int], *, letterbox: bool = False) -> None:
        super().__init__(path)
        self.shape, self.letterbox = shape, letterbox
        self.cut = None  # images have no length

    def _read(self, file: Path) -> Iterator[Tensor]:
        from torpor.data.viewed import read_viewed

        try:
            with file.open("rb") as content:
                image = read_viewed(content, self.shape[0], str(file))
        except OSError as error:
            raise DataError(f"expected an image, got {file}: {error}; remove or repair it") from error
        yield fitted(image, self.shape, letterbox=self.letterbox).pixels


class SoundFiles(Files):
    """WAV files of 16 bits as one channel, cut or followed by silence to the length that a target reads, int16 ``[T]``.

    Args:
        path: the file or the folder.
        length: samples that the target reads.
        rate: samples per second that it expects.
    """

    what, suffixes = "sounds", (".wav",)

    def __init__(self, path: Path, length: int, rate: int) -> None:
        super().__init__(path)
        self.length, self.rate = length, rate

    def _read(self, file: Path) -> Iterator[Tensor | Shortened]:
        try:
            sound = read_wav(file.read_bytes(), self.rate, str(file))
        except OSError as error:
            raise DataError(f"expected a WAV file, got {file}: {error}; remove or repair it") from error
        lost, sound = max(0, len(sound) - self.length), sound[: self.length]
        stored = torch.zeros(self.length, dtype=torch.int16)
        stored[: len(sound)] = torch.from_numpy(sound.round().clip(-32768, 32767).astype(np.int16))
        yield Shortened(stored, lost) if lost else stored
