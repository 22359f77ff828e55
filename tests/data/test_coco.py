from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from torpor.audits.run.job import source
from torpor.core.errors import DataError
from torpor.data import coco
from torpor.data.coco import CLASSES, CocoImages
from torpor.data.images import GRAY
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.toy_boxes import Lamps

SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco256"


def image(width: int = 40, height: int = 20) -> dict[str, Any]:
    """Return an image whose right half is white, as a table holds it."""
    image = Image.new("RGB", (width, height))
    image.paste((255, 255, 255), (width // 2, 0, width, height))
    content = io.BytesIO()
    image.save(content, "PNG")
    return {"bytes": content.getvalue(), "path": "a.png"}


def write(folder: Path, *, file: str = "val.parquet", rows: int = 1, **changes: Any) -> Path:  # noqa: ANN401
    row = {"image": image(), "category": [2, 79], "bbox_cxcywh": [[0.75, 0.5, 0.5, 1.0], [0.5, 0.5, 0.1, 0.2]]}
    row |= changes
    pq.write_table(pa.Table.from_pylist([{name: value for name, value in row.items() if value}] * rows), folder / file)
    return folder


def test_images_and_boxes_are_scaled_alike_in_a_gray_letterbox(tmp_path: Path) -> None:
    ((pixels, objects),) = CocoImages(write(tmp_path), (3, 40, 20)).samples("test")
    assert pixels.shape == (3, 40, 20)
    assert pixels.dtype == torch.uint8
    assert (pixels[:, :15] == GRAY).all()
    assert (pixels[:, 25:] == GRAY).all()
    left, top, right, bottom = objects.boxes[0].int().tolist()
    assert (left, top, right, bottom) == (10, 15, 20, 25)
    assert (pixels[:, top:bottom, left + 2 : right] > 240).all()
    assert (pixels[:, top:bottom, : left - 2] < 15).all()
    assert objects.labels.tolist() == [2, 79]
    assert objects.scores is None


def test_images_and_boxes_are_stretched_alike(tmp_path: Path) -> None:
    ((pixels, objects),) = CocoImages(write(tmp_path), (1, 40, 20), letterbox=False).samples("test")
    assert objects.boxes[0].tolist() == [10, 0, 20, 40]
    assert (pixels[0, :, 12:] > 240).all()


def test_objects_get_the_labels_of_the_detector(tmp_path: Path) -> None:
    classes = ("background", "toothbrush", "truck")
    ((_, objects),) = CocoImages(write(tmp_path), (3, 20, 40), classes).samples("test")
    assert objects.labels.tolist() == [1]
    with pytest.raises(DataError, match="expected a detector with classes of COCO, got lamp"):
        CocoImages(tmp_path, (3, 20, 40), ("lamp",))


def test_an_image_may_hold_nothing(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"image": image(), "category": [], "bbox_cxcywh": []}])
    pq.write_table(table, tmp_path / "val.parquet")
    ((_, objects),) = CocoImages(tmp_path, (3, 20, 40)).samples("test")
    assert objects.boxes.shape == (0, 4)


def test_splits_are_disjoint(tmp_path: Path) -> None:
    data = CocoImages(write(write(tmp_path), file="train.parquet", rows=60), (3, 20, 40))
    counts = {split: len(data.load(split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 56, "validation": 4, "test": 1}
    assert data.fingerprint() != CocoImages(tmp_path, (3, 20, 40), letterbox=False).fingerprint()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"category": None}, "expected columns image, category, bbox_cxcywh, got no category"),
        ({"category": [2, 80]}, "expected a class below 80 .*row 0"),
        ({"category": [2]}, "expected a class below 80 and 4 numbers"),
        ({"bbox_cxcywh": [[0.5, 0.5, 1.5, 1.0], [0.5] * 4]}, "numbers from 0 to 1 for each box"),
        ({"bbox_cxcywh": [[0.5, 0.5, float("nan"), 1.0], [0.5] * 4]}, "numbers from 0 to 1 for each box"),
        ({"bbox_cxcywh": [[0.5, 0.5, 1.0], [0.5] * 4]}, "expected boxes of 4 numbers, got .*row 0"),
        ({"image": {"bytes": b"GIF", "path": ""}}, "expected an encoded image"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(CocoImages(write(tmp_path, **changes), (3, 20, 40)).samples("test"))


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    data = CocoImages(tmp_path, (3, 20, 40))
    assert not data.has("validation")
    with pytest.raises(DataError, match=r"expected images with boxes in .*val\.parquet, got no such file"):
        data.load("test")
    (tmp_path / "val.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="expected a Parquet file"):
        data.load("test")


def test_detectors_read_them_by_default(tmp_path: Path) -> None:
    target = DetectorTarget(Lamps(), input_shape=(1, 8, 16), classes=["truck"])
    data = target.data(write(tmp_path))
    assert isinstance(data, CocoImages)
    assert data.load("test").inputs.shape == (1, 1, 8, 16)
    with pytest.raises(DataError, match="pass --data-dir or --inputs"):
        target.data(None)


@pytest.mark.parametrize("letterbox", [True, False])
def test_own_images_come_to_a_detector_as_those_of_the_table_do(tmp_path: Path, letterbox: bool) -> None:
    target = DetectorTarget(Lamps(), input_shape=(1, 8, 24), classes=["truck"], letterbox=letterbox)
    (tmp_path / "own.png").write_bytes(image()["bytes"])
    own, table = source(target, None, tmp_path / "own.png"), source(target, write(tmp_path), None)
    assert own.load("test").inputs.equal(table.load("test").inputs)
    assert (own.load("test").inputs == GRAY).any() == letterbox


@pytest.mark.skipif(not SHARED.is_dir(), reason="no images of COCO beside the repository")
def test_the_real_ones_are_read() -> None:
    batch = CocoImages(SHARED, (3, 96, 128)).load("test")
    assert batch.inputs.shape == (64, 3, 96, 128)
    labels = torch.cat([objects.labels for objects in batch.references])
    assert CLASSES[labels.bincount().argmax()] == "person"


def test_the_class_is_found_under_its_old_name() -> None:
    with pytest.warns(
        DeprecationWarning, match=r"torpor\.data\.coco\.CocoPictures is now torpor\.data\.coco\.CocoImages"
    ):
        assert coco.CocoPictures is CocoImages
