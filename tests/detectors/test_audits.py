"""Audits of other people's detectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import libraries
import numpy as np
import pytest
from models import torchvision_model, yolo
from photos import sample_images
from PIL import Image

from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.run.engine import run_audit
from torpor.data.coco import CLASSES
from torpor.targets import from_torchvision, from_ultralytics
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS

COCO = libraries.SHARED / "data" / "coco256"


def ssdlite() -> DetectorTarget:
    model = torchvision_model("ssdlite", score_thresh=0.4, topk_candidates=30)
    return from_torchvision(model, classes=CLASSES[:5], name="ssdlite320")


def small_yolo() -> DetectorTarget:
    return from_ultralytics(yolo(), input_shape=(3, 96, 128), nms=NMS(conf=0.75), classes=CLASSES[:3])


@pytest.mark.parametrize("make", [ssdlite, small_yolo])
def test_detectors_are_audited_on_images_of_coco(make: Callable[[], DetectorTarget], tmp_path: Path) -> None:
    target = make()
    if not COCO.is_dir():
        pytest.skip(f"no images of COCO in {COCO}")
    plan = Plan(target.name, ("overload",), "Linf", (8 / 255,), steps=4, limit=2, batch_size=2, data_dir=str(COCO))
    run_audit(plan, target, tmp_path / "run")
    rows = {row["attack"]: row for row in read_audit(tmp_path / "run").summary}
    counts = {name: row["units_mean"]["candidate"] for name, row in rows.items()}
    assert counts["overload"] > max(counts["clean"], counts["control-noise"])
    assert rows["overload"]["linf_max"] <= 8 / 255 + 1e-6
    assert 0 <= rows["clean"]["map50"] < 0.5


def test_detectors_are_audited_on_images_of_the_user(tmp_path: Path) -> None:
    target = small_yolo()
    for number, image in enumerate(sample_images((3, 40, 70))):
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(np.asarray(pixels)).save(tmp_path / f"{number}.png")
    plan = Plan(target.name, ("overload",), "Linf", (8 / 255,), steps=2, inputs=str(tmp_path))
    run_audit(plan, target, tmp_path / "run")
    (clean, *_) = read_audit(tmp_path / "run").summary
    assert (clean["n"], clean["map50"]) == (2, None)
