"""Images with boxes in Parquet files, as COCO has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.errors import DataError
from torpor.core.lazy import renamed_argument
from torpor.core.objects import Objects
from torpor.data.images import fitted
from torpor.data.parquet import held_out, open_image
from torpor.data.sets import SPLITS, DataSet
from torpor.data.tables import DAMAGE, count_rows, require_once

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 classes that COCO has boxes of, in the order in which detectors and these files number them."""
COLUMNS = ("image", "category", "bbox_cxcywh")


class CocoImages(DataSet):
    """Images and boxes from ``val.parquet`` and ``train.parquet``; a twentieth of the latter is for validation.

    Each file has columns ``image`` (a struct with the encoded ``bytes``), ``category`` (numbers from 0 to 79) and
    ``bbox_cxcywh`` (for each box its middle, width and height, in shares of the image's width and height as a
    viewer shows it, upright).

    Args:
        folder: the folder of the files, if the user gave any.
        shape: ``(C, H, W)`` that every image is scaled to; one channel reads gray, three read RGB.
        classes: what the detector calls its classes; objects of classes that it does not know are left out.
        letterbox: whether images keep their proportions, letterboxed with gray; else they are stretched.
        name: of the data set.

    Raises:
        DataError: if there is no folder, or the detector knows none of COCO's classes.
    """

    @renamed_argument("bars", "letterbox")
    def __init__(
        self,
        folder: Path | None,
        shape: tuple[int, int, int],
        classes: Sequence[str] = CLASSES,
        *,
        letterbox: bool = True,
        name: str = "coco",
    ) -> None:
        if folder is None:
            raise DataError("expected a folder of images with boxes, got none; pass --data-dir or --inputs")
        self.folder, self.shape, self.letterbox, self.name = folder, shape, letterbox, name
        self.labels = {CLASSES.index(known): label for label, known in enumerate(classes) if known in CLASSES}
        if not self.labels:
            raise DataError(
                f"expected a detector with classes of COCO, got {', '.join(classes[:3])}, ...; name its classes, or "
                "pass --inputs"
            )

    def fingerprint(self) -> str:
        """Return the name, how images are scaled, and the number of rows of each file."""
        rows = {path.name: count_rows(path) for path in sorted(self.folder.glob("*.parquet"))}
        return f"{self.name} {self.shape} {self.letterbox} {rows}"

    @override
    def files(self) -> Mapping[str, Path]:
        return {split: self.folder / ("val.parquet" if split == "test" else "train.parquet") for split in SPLITS}

    def samples(self, split: str) -> Iterator[tuple[Tensor, Objects]]:
        """Yield ``(image uint8 [C, H, W], objects)``.

        Raises:
            DataError: if the file cannot be read.
        """
        path = self.files()[split]
        if not path.is_file():
            raise DataError(f"expected images with boxes in {path}, got no such file; pass --data-dir FOLDER")
        try:
            file = pq.ParquetFile(path)
            if missing := sorted(set(COLUMNS) - set(file.schema_arrow.names)):
                raise DataError(f"expected columns {', '.join(COLUMNS)}, got no {', '.join(missing)} in {path}")
            require_once(file, COLUMNS, path)
            number = -1
            for rows in file.iter_batches(batch_size=32, columns=list(COLUMNS)):
                for row in rows.to_pylist():
                    number += 1
                    if split == "test" or held_out(number) == (split == "validation"):
                        yield self._sample(row, f"row {number} of {path}")
        except DAMAGE as error:
            raise DataError(f"expected a Parquet file, got {path}: {error}; fetch it again") from error

    def _sample(self, row: dict[str, Any], where: str) -> tuple[Tensor, Objects]:
        image = fitted(open_image(row["image"], self.shape[0], where), self.shape, letterbox=self.letterbox)
        boxes, labels = self._objects(row["bbox_cxcywh"], row["category"], where)
        size = torch.tensor(image.size)
        middle, sides = boxes[:, :2] * size + torch.tensor(image.corner), boxes[:, 2:] * size
        return image.pixels, Objects(torch.cat([middle - sides / 2, middle + sides / 2], 1), labels)

    def _objects(self, boxes: object, categories: object, where: str) -> tuple[Tensor, Tensor]:
        """Return relative boxes ``[K, 4]`` and the detector's labels ``[K]``, without classes it does not know."""
        try:
            shares = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
            numbers = torch.tensor(categories, dtype=torch.int64)
            sound = len(shares) == len(numbers) and bool(((shares >= 0) & (shares <= 1)).all())
            sound = sound and bool(((numbers >= 0) & (numbers < len(CLASSES))).all())
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"expected boxes of 4 numbers, got {error} in {where}") from error
        if not sound:
            raise DataError(
                f"expected a class below {len(CLASSES)} and 4 numbers from 0 to 1 for each box, got others in {where}"
            )
        known = torch.tensor([number in self.labels for number in numbers.tolist()], dtype=torch.bool)
        labels = [self.labels[number] for number in numbers[known].tolist()]
        return shares[known], torch.tensor(labels, dtype=torch.int64)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type is that of CocoImages
    if name != "CocoPictures":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.CocoPictures is now {__name__}.CocoImages", DeprecationWarning, stacklevel=2)
    return CocoImages
