"""Labeled images in Parquet files with the column layout of the Hugging Face hub."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.errors import DataError
from torpor.data.images import ImageSet
from torpor.data.sets import SPLITS
from torpor.data.tables import DAMAGE, count_rows, require_once

if TYPE_CHECKING:
    from PIL.Image import Image

HOLD_OUT = 20  # one training image in 20 is validation data
COLUMNS = ("img", "image")


class ParquetImages(ImageSet):
    """Images from ``test.parquet`` and ``train.parquet``, a twentieth of the latter held out for validation.

    Each file has a column ``img`` or ``image`` (a struct with the encoded ``bytes``) and an integer column ``label``.

    Args:
        folder: the folder of the files.
        shape: ``(C, H, W)`` that every image must have; one channel reads gray, three read RGB.
        classes: names of the classes.
        name: of the data set.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, int, int], classes: tuple[str, ...] | None = None, name: str = "images"
    ) -> None:
        self.folder, self.shape, self.name = folder, shape, name
        self.classes = classes or ()

    def fingerprint(self) -> str:
        """Return the name and the number of rows of each file; one that is repaired in place stays the same."""
        rows = {path.name: count_rows(path) for path in sorted(self.folder.glob("*.parquet"))}
        return f"{self.name} {rows}"

    @override
    def files(self) -> Mapping[str, Path]:
        return {split: self.folder / ("test.parquet" if split == "test" else "train.parquet") for split in SPLITS}

    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        """Yield decoded images; see :meth:`ImageSet.samples`."""
        return self._rest(split, 0)

    def _rest(self, split: str, first: int) -> Iterator[tuple[Tensor, int]]:
        """Yield decoded images; those before ``first`` are not decoded."""
        path = self.files()[split]
        if not path.is_file():
            raise DataError(f"expected images in {path}, got no such file; pass --data-dir FOLDER")
        try:
            yield from self._rows(path, split, first)
        except DAMAGE as error:
            raise DataError(f"expected a Parquet file, got {path}: {error}; fetch it again") from error

    def _rows(self, path: Path, split: str, first: int) -> Iterator[tuple[Tensor, int]]:
        file = pq.ParquetFile(path)
        column = next((name for name in COLUMNS if name in file.schema_arrow.names), None)
        if column is None or "label" not in file.schema_arrow.names:
            raise DataError(f"expected columns img or image, and label, got {file.schema_arrow.names} in {path}")
        require_once(file, (column, "label"), path)
        number, place = -1, -1
        for rows in file.iter_batches(batch_size=256, columns=[column, "label"]):
            labels = rows.column("label").to_pylist()
            for record, label in zip(rows.column(column).to_pylist(), labels, strict=True):
                number += 1
                own = split == "test" or held_out(number) == (split == "validation")
                place += own
                if own and place >= first:
                    where = f"row {number} of {path}"
                    yield self._decode(record, where), self._label(label, where)

    def _label(self, label: object, where: str) -> int:
        known = len(self.classes)
        if not isinstance(label, int) or label < 0 or (known and label >= known):
            raise DataError(f"expected a class number{f' below {known}' if known else ''}, got {label!r} in {where}")
        return label

    def _decode(self, record: object, where: str) -> Tensor:
        image = open_image(record, self.shape[0], where)
        if image.size != (self.shape[2], self.shape[1]):
            got = (image.height, image.width)
            raise DataError(f"expected images of {self.shape[1:]} pixels, got {got} in {where}")
        tensor = torch.from_numpy(np.array(image))
        return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def open_image(record: object, channels: int, where: str) -> Image:
    """Return the encoded image of a table's row as a viewer shows it, in gray (1 channel) or RGB.

    Args:
        record: a struct with the encoded ``bytes``.
        channels: 1 or 3.
        where: named in errors.

    Raises:
        DataError: if there is no whole image.
    """
    from torpor.data.viewed import read_viewed

    content = record.get("bytes") if isinstance(record, dict) else None
    if not isinstance(content, bytes):
        raise DataError(f"expected an image as a struct with bytes, got {type(record).__name__} in {where}")
    return read_viewed(io.BytesIO(content), channels, where)


def held_out(number: int) -> bool:
    """Tell whether training row ``number`` belongs to the validation split.

    Rows are scattered by a multiplicative hash (Knuth), since files often cycle through the classes.

    >>> sum(held_out(number) for number in range(50_000))
    2501
    """
    return number * 2_654_435_761 % 2**32 < 2**32 // HOLD_OUT
