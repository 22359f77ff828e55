from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from torpor.core.errors import DataError, UsageError
from torpor.data.images import Digits, to_unit
from torpor.data.parquet import ParquetImages
from torpor.data.sets import SPLITS
from torpor.data.tensors import TensorImages

SHAPE = (3, 4, 6)


def png(value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> dict[str, Any]:
    """Encode one image of a single color; ``value`` tells it apart."""
    content = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, value // 2, 255 - value)).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def write(folder: Path, split: str, records: list[Any], labels: list[Any], column: str = "img") -> ParquetImages:
    pq.write_table(pa.table({column: records, "label": labels}), folder / f"{split}.parquet")
    return ParquetImages(folder, SHAPE, ("a", "b", "c"))


@pytest.mark.parametrize("column", ["img", "image"])
def test_parquet_images_come_back_pixel_by_pixel(tmp_path: Path, column: str) -> None:
    data = write(tmp_path, "test", [png(10), png(200), png(30)], [0, 2, 1], column)
    batch = data.load("test")
    assert batch.inputs.dtype == torch.uint8
    assert tuple(batch.inputs.shape) == (3, *SHAPE)
    assert batch.inputs[:, :, 3, 5].tolist() == [[10, 5, 245], [200, 100, 55], [30, 15, 225]]
    assert batch.references.tolist() == [0, 2, 1]
    assert batch.index.tolist() == [0, 1, 2]


def test_gray_targets_read_color_files_as_gray(tmp_path: Path) -> None:
    write(tmp_path, "test", [png(7, mode="L"), png(9, mode="L")], [0, 1])
    batch = ParquetImages(tmp_path, (1, 4, 6)).load("test")
    assert batch.inputs[:, 0, 0, 0].tolist() == [7, 9]


def test_train_and_validation_share_no_row_and_lose_none(tmp_path: Path) -> None:
    data = write(tmp_path, "train", [png(value) for value in range(200)], [0] * 200)
    train, validation = (data.load(split).inputs[:, 0, 0, 0].tolist() for split in ("train", "validation"))
    assert 5 <= len(validation) <= 20
    assert len({later - earlier for earlier, later in pairwise(validation)}) > 1, "a file may cycle through classes"
    assert sorted(train + validation) == list(range(200))
    assert data.load("validation").inputs[:, 0, 0, 0].tolist() == validation


def test_batches_number_samples_and_stop_at_the_limit(tmp_path: Path) -> None:
    data = write(tmp_path, "test", [png(value) for value in range(7)], [0] * 7)
    assert [batch.index.tolist() for batch in data.batches("test", 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [batch.index.tolist() for batch in data.batches("test", 3, 4)] == [[0, 1, 2], [3]]


@pytest.mark.parametrize(
    ("records", "labels", "message"),
    [
        ([png(1, (5, 4))], [0], r"images of \(4, 6\) pixels, got \(4, 5\) in row 0"),
        ([png(1), png(2)], [0, 3], "class number below 3, got 3 in row 1"),
        ([png(1)], [-1], "class number"),
        ([{"bytes": b"no image", "path": None}], [0], "encoded image"),
        ([{"bytes": png(1)["bytes"][:40], "path": None}], [0], "encoded image"),
        (["text"], [0], "struct with bytes"),
        ([png(1)], ["cat"], "class number"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, records: list[Any], labels: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path, "test", records, labels).load("test")


def test_bad_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    data = ParquetImages(tmp_path, SHAPE)
    assert not data.has("test")
    with pytest.raises(DataError, match="got no such file; pass --data-dir"):
        data.load("test")
    (tmp_path / "test.parquet").write_bytes(b"PAR1 this is not Parquet PAR1")
    with pytest.raises(DataError, match="expected a Parquet file"):
        data.load("test")
    pq.write_table(pa.table({"pixels": [1], "label": [0]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="expected columns img or image"):
        data.load("test")
    write(tmp_path, "test", [png(1)], [0])
    whole = (tmp_path / "test.parquet").read_bytes()
    (tmp_path / "test.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="expected a Parquet file"):
        data.load("test")


def test_unknown_splits_and_empty_splits_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path, "test", [], [])
    with pytest.raises(UsageError, match="got split 'dev'"):
        data.load("dev")
    with pytest.raises(DataError, match="got none"):
        data.load("test")
    assert not data.has("test")
    assert write(tmp_path, "test", [png(1)], [0]).has("test")


def test_digits_are_split_for_good() -> None:
    parts = {split: Digits().load(split) for split in SPLITS}
    assert {split: len(part) for split, part in parts.items()} == {"train": 1079, "validation": 359, "test": 359}
    assert parts["test"].references[:5].tolist() == [8, 8, 9, 8, 3]
    counts = parts["test"].references.bincount()
    assert counts.min() > 25  # no class is rare, as it is in a file that cycles through the classes
    again = Digits().load("test")
    assert again.inputs.equal(parts["test"].inputs)
    for part in parts.values():
        assert tuple(part.inputs.shape[1:]) == (1, 32, 32)
        assert sorted(set(part.references.tolist())) == list(range(10))


def test_no_digit_is_in_two_splits() -> None:
    rows = {split: {image.numpy().tobytes() for image in Digits().load(split).inputs} for split in SPLITS}
    assert not rows["train"] & rows["test"]
    assert not rows["train"] & rows["validation"]
    assert not rows["validation"] & rows["test"]


def test_tensor_images_refuse_what_is_not_stored_as_bytes() -> None:
    bytes_ = torch.zeros(2, 1, 3, 4, dtype=torch.uint8)
    for images, labels in ((bytes_.float(), torch.zeros(2)), (bytes_[0], torch.zeros(1)), (bytes_, torch.zeros(3))):
        with pytest.raises(DataError, match="expected uint8 images"):
            TensorImages({"test": (images, labels)})
    data = TensorImages({"test": (bytes_, torch.arange(2))})
    with pytest.raises(DataError, match="expected a split among test"):
        data.load("train")
    assert not data.has("train")


def test_bytes_map_onto_the_unit_interval() -> None:
    assert to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
