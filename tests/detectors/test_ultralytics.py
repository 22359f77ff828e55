from __future__ import annotations

import inspect
from dataclasses import replace
from types import ModuleType

import libraries
import pytest
import torch
from models import yolo
from photos import sample_images

from torpor.core.errors import UsageError
from torpor.data.coco import CLASSES
from torpor.targets import from_ultralytics
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS
from torpor.targets.resolve import load_target


@pytest.fixture(scope="session")
def ultralytics() -> ModuleType:
    """Return the library, or skip where it is not."""
    return libraries.ultralytics()


@pytest.mark.parametrize("shape", [(3, 96, 96), (3, 64, 160)], ids=["square", "wide"])
@pytest.mark.parametrize(
    ("config", "classes", "nms"),
    [
        ("yolov8n.yaml", 3, NMS(conf=0.6, iou=0.5)),
        ("yolov8n.yaml", 80, NMS(conf=0.9, iou=0.5, agnostic=True)),
        ("yolo11n.yaml", 2, NMS(conf=0.6, iou=0.7, max_nms=60, max_det=20)),
        ("yolov5n.yaml", 3, NMS(conf=0.6, iou=0.5, multi_label=True)),
    ],
    ids=["v8", "agnostic", "v11 small caps", "v5 every class"],
)
def test_outputs_and_work_are_those_of_the_library(
    ultralytics: ModuleType, config: str, classes: int, nms: NMS, shape: tuple[int, int, int]
) -> None:
    network = yolo(classes, config)
    target = from_ultralytics(network, input_shape=shape, nms=nms)
    images = sample_images(shape)
    outcome = target.run(images)
    with torch.no_grad():
        theirs = ultralytics.utils.nms.non_max_suppression(
            torch.cat([network(image[None])[0] for image in images]),
            nms.conf,
            nms.iou,
            agnostic=nms.agnostic,
            multi_label=nms.multi_label,
            max_det=nms.max_det,
            max_nms=nms.max_nms,
        )
    for found, rows in zip(outcome.outputs, theirs, strict=True):
        assert len(found) == len(rows) > 3
        assert torch.equal(found.labels, rows[:, 5].to(torch.int64))
        assert torch.allclose(found.scores, rows[:, 4])
        assert torch.allclose(found.boxes, rows[:, :4], atol=1e-3)
    assert (outcome.work.counts <= target.max_work(images).counts).all()
    assert torch.equal(target.signals(images).work.counts, outcome.work.counts)


def test_thresholds_and_caps_are_the_defaults_of_the_library(ultralytics: ModuleType) -> None:
    target = from_ultralytics(yolo(80), input_shape=(3, 64, 64))
    defaults = ultralytics.utils.DEFAULT_CFG
    suppression = inspect.signature(ultralytics.utils.nms.non_max_suppression).parameters
    assert target.nms == NMS(
        conf=0.25, iou=defaults.iou, max_det=defaults.max_det, max_nms=suppression["max_nms"].default
    )
    assert target.classes == CLASSES
    wrapped = ultralytics.YOLO("yolov8n.yaml", verbose=False)
    wrapped.overrides["iou"] = 0.33
    assert from_ultralytics(wrapped, input_shape=(3, 64, 64)).nms == replace(target.nms, iou=0.33)


def test_predictions_of_the_library_are_the_same(ultralytics: ModuleType) -> None:
    wrapped = ultralytics.YOLO("yolov8n.yaml", verbose=False)
    wrapped.model = yolo(3)
    image = sample_images((3, 64, 96), 1)
    pixels = (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).flip(2).contiguous().numpy()  # BGR
    theirs = wrapped.predict(pixels, imgsz=(64, 96), verbose=False, save=False, device="cpu")[0].boxes
    found = from_ultralytics(wrapped, input_shape=(3, 64, 96)).run(image).outputs[0]
    height_and_width = torch.tensor([96.0, 64, 96, 64])
    assert len(found) == len(theirs) > 3
    assert torch.allclose(torch.minimum(found.boxes.clamp_min(0), height_and_width), theirs.xyxy, atol=1e-2)
    assert torch.equal(found.labels, theirs.cls.to(torch.int64))


def test_the_names_of_coco_are_those_of_the_library(ultralytics: ModuleType) -> None:
    names = ultralytics.utils.YAML.load(ultralytics.utils.ROOT / "cfg/datasets/coco.yaml")["names"]
    assert tuple(names.values()) == CLASSES


def test_every_box_and_score_has_a_gradient_at_the_pixels() -> None:
    network = yolo()
    with torch.inference_mode():  # as the library's predictor, whose anchors have no part in gradients
        network(sample_images((3, 64, 96)))
    target = from_ultralytics(network, input_shape=(3, 64, 96))
    images = sample_images((3, 64, 96)).requires_grad_()
    signals = target.signals(images)
    for values in (signals.boxes, signals.scores):
        (slope,) = torch.autograd.grad(values.square().sum(), images, retain_graph=True)
        assert slope.isfinite().all()
        assert (slope.flatten(1).abs().amax(1) > 0).all()


def test_images_of_any_size_are_letterboxed_and_boxes_are_not() -> None:
    network, image = yolo(), sample_images((3, 50, 77), 1)
    small = from_ultralytics(network, input_shape=(3, 50, 77)).signals(image)
    barred = torch.full((1, 3, 64, 96), 114 / 255)
    barred[..., 7:57, 9:86] = image
    large = from_ultralytics(network, input_shape=(3, 64, 96)).signals(barred)
    assert torch.equal(small.scores, large.scores)
    assert torch.allclose(small.boxes + torch.tensor([9.0, 7, 9, 7]), large.boxes, atol=1e-4)


def test_an_image_of_one_pixel_is_one() -> None:
    target = from_ultralytics(yolo(), input_shape=(3, 1, 1))
    outcome = target.run(torch.full((1, 3, 1, 1), 0.2))
    assert (outcome.work.counts <= target.static_work().counts).all()


def test_nothing_is_found_above_the_highest_threshold() -> None:
    outcome = from_ultralytics(yolo(), input_shape=(3, 64, 64), nms=NMS(conf=1.0)).run(sample_images((3, 64, 64), 1))
    assert outcome.work.counts.tolist() == [[1, 0, 0]]
    assert outcome.outputs[0].boxes.shape == (0, 4)


def test_weights_that_are_no_numbers_are_refused() -> None:
    network = yolo()
    next(network.parameters()).data.fill_(float("nan"))
    target = from_ultralytics(network, input_shape=(3, 64, 64))
    with pytest.raises(UsageError, match="expected finite boxes and scores"):
        target.run(sample_images((3, 64, 64), 1))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("yolov10n.yaml", "v10Detect"),
        ("yolov8n-seg.yaml", "Segment"),
        ("rtdetr-l.yaml", "RTDETR"),
    ],
)
def test_models_without_suppression_of_boxes_are_refused(ultralytics: ModuleType, name: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"expected an ultralytics model .*got .*{what}"):
        load_target(f"ultralytics:{name}")


def test_a_head_that_needs_no_suppression_is_refused_and_its_other_branch_is_not() -> None:
    network = yolo(config="yolo26n.yaml")
    assert from_ultralytics(network, input_shape=(3, 64, 64)).anchors == 84
    network.end2end = True
    with pytest.raises(UsageError, match=r"got Detect \(end2end\)"):
        from_ultralytics(network, input_shape=(3, 64, 64))


@pytest.mark.parametrize("name", ["yolov8n.pt", "yolov8n.yaml@best.pt", "../yolov8n.yaml", "nothing.yaml"])
def test_names_that_are_refused(ultralytics: ModuleType, name: str) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        load_target(f"ultralytics:{name}")
    assert "\n" not in str(caught.value)


def test_models_by_name_are_the_same_each_time(ultralytics: ModuleType) -> None:
    target = load_target("ultralytics:yolov8n.yaml")
    assert isinstance(target, DetectorTarget)
    assert (target.name, target.space.shape) == ("yolov8n-random", (3, 640, 640))
    assert target.fingerprint() == load_target("ultralytics:yolov8n.yaml").fingerprint()
