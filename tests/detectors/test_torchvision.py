from __future__ import annotations

from pathlib import Path
from types import ModuleType

import libraries
import pytest
import torch
from models import KINDS, torchvision_model
from photos import sample_images
from safetensors.torch import save_file

from torpor.core.errors import UsageError
from torpor.data.coco import CLASSES
from torpor.targets import from_torchvision
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.resolve import load_target

THRESHOLDS = {"ssdlite": 0.3, "ssd": 0.4, "retinanet": 0.5, "fcos": 0.5}


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """Return the library, or skip where it is not."""
    return libraries.torchvision()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "caps"),
    [
        (None, {}),
        ((3, 200, 130), {}),
        (None, {"topk_candidates": 30, "detections_per_img": 40}),
    ],
    ids=["own size", "tall", "small caps"],
)
def test_outputs_and_work_are_those_of_the_library(
    kind: str, shape: tuple[int, int, int] | None, caps: dict[str, int]
) -> None:
    model = torchvision_model(kind, score_thresh=THRESHOLDS[kind], **caps)
    target = from_torchvision(model, input_shape=shape)
    images = sample_images(target.space.shape)
    outcome = target.run(images)
    for found, image in zip(outcome.outputs, images, strict=True):
        with torch.no_grad():
            theirs = model([image])[0]
        assert len(found) == len(theirs["boxes"]) > 3
        assert found.labels.tolist() == (theirs["labels"] - int(kind.startswith("ssd"))).tolist()
        assert torch.allclose(found.scores, theirs["scores"])
        assert torch.allclose(found.boxes, theirs["boxes"], atol=1e-3)
    assert (outcome.work.counts <= target.max_work(images).counts).all()
    assert (outcome.work.counts[:, 1] > 100).all()
    assert torch.equal(target.signals(images).work.counts, outcome.work.counts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_box_and_score_has_a_gradient_at_the_pixels(kind: str) -> None:
    target = from_torchvision(torchvision_model(kind), input_shape=(3, 60, 90))
    images = sample_images((3, 60, 90)).requires_grad_()
    signals = target.signals(images)
    for values in (signals.boxes, signals.scores):
        (slope,) = torch.autograd.grad(values.square().sum(), images, retain_graph=True)
        assert slope.isfinite().all()
        assert (slope.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_one_pixel_is_one(kind: str) -> None:
    target = from_torchvision(torchvision_model(kind), input_shape=(3, 1, 1))
    outcome = target.run(torch.full((1, 3, 1, 1), 0.2))
    assert (outcome.work.counts <= target.static_work().counts).all()
    assert (outcome.outputs[0].boxes <= 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found_above_the_highest_threshold(kind: str) -> None:
    target = from_torchvision(torchvision_model(kind, score_thresh=1.0))
    outcome = target.run(sample_images(target.space.shape, 1))
    assert outcome.work.counts.tolist() == [[1, 0, 0]]
    assert outcome.outputs[0].boxes.shape == (0, 4)


def test_weights_that_are_no_numbers_are_refused() -> None:
    model = torchvision_model("ssd")
    next(model.head.parameters()).data.fill_(float("nan"))
    target = from_torchvision(model)
    with pytest.raises(UsageError, match="expected finite boxes and scores"):
        target.run(sample_images(target.space.shape, 1))


def test_two_stages_are_refused(torchvision: ModuleType) -> None:
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    with pytest.raises(UsageError, match="expected an SSD, RetinaNet or FCOS of torchvision, got FasterRCNN"):
        from_torchvision(model)


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("ssdlite320_mobilenet_v3_large", (3, 320, 320), 90),
        ("ssd300_vgg16", (3, 300, 300), 90),
    ],
)
def test_models_by_name_know_the_classes_of_coco(
    torchvision: ModuleType, name: str, shape: tuple[int, int, int], classes: int
) -> None:
    target = load_target(f"torchvision:{name}")
    assert isinstance(target, DetectorTarget)
    assert target.name == f"{name}-random"
    assert target.space.shape == shape
    assert not target.letterbox, "an SSD stretches images to its size"
    assert len(target.classes) == classes
    assert set(CLASSES) < set(target.classes)


def test_weights_come_from_safetensors_only(torchvision: ModuleType, tmp_path: Path) -> None:
    name = "torchvision:ssdlite320_mobilenet_v3_large"
    random = load_target(name)
    assert random.fingerprint() == load_target(name).fingerprint()
    assert isinstance(random, DetectorTarget)
    state = random.network.model.state_dict()  # type: ignore[union-attr]
    path = tmp_path / "weights.safetensors"
    save_file({key: value + 1 if value.is_floating_point() else value for key, value in state.items()}, path)
    given = load_target(f"{name}@{path}")
    assert given.name == "ssdlite320_mobilenet_v3_large"
    assert given.fingerprint() != random.fingerprint()
    save_file(dict(list(state.items())[:3]), path)
    for wrong, said in (
        (f"{name}@{path}", "expected the weights of this model"),
        (f"{name}@{tmp_path / 'none.safetensors'}", "expected the weights of this model"),
        (f"{name}@weights.pth", "which may run code"),
        ("torchvision:resnet18", "expected one of .*ssd300_vgg16.*, got torchvision:resnet18"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            load_target(wrong)
        assert "\n" not in str(caught.value)
