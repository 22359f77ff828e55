from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.data.coco import CLASSES
from torpor.targets import from_torchvision
from torpor.targets.detection import DetectorTarget

Make = Callable[..., Any]
KINDS = ["ssdlite", "ssd", "retinanet", "fcos"]


@pytest.fixture(scope="session")
def make(torchvision: Any) -> Make:
    """Return what makes a small model of each kind with random weights; two equal calls give equal models."""
    detection = importlib_detection(torchvision)

    def pyramid(channels: int = 32) -> nn.Module:
        backbone = nn.Sequential(nn.Conv2d(3, channels, 3, 8, 1), nn.ReLU())
        backbone.out_channels = channels  # type: ignore[assignment]
        return Pyramid(backbone, channels)

    def anchors(count: int) -> Any:
        sizes = tuple(tuple(16.0 * 2**level * (1 + 0.4 * step) for step in range(count)) for level in range(3))
        return detection.anchor_utils.AnchorGenerator(sizes, ((1.0,),) * 3)

    def made(kind: str, **options: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            if kind == "ssdlite":
                model = detection.ssdlite320_mobilenet_v3_large(
                    weights=None, weights_backbone=None, num_classes=6, **options
                )
            elif kind == "ssd":
                model = detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=4, **options)
            elif kind == "retinanet":
                model = detection.RetinaNet(
                    pyramid(), 5, min_size=96, max_size=160, anchor_generator=anchors(2), **options
                )
            else:
                model = detection.FCOS(
                    pyramid(), 5, min_size=96, max_size=160, anchor_generator=anchors(1), **options
                )
            for part in model.head.modules():  # scores and boxes that differ
                if isinstance(part, nn.Conv2d):
                    nn.init.normal_(part.weight, std=0.5 / (part.weight[0].numel()) ** 0.5)
        return model.eval()

    return made


class Pyramid(nn.Module):
    """Features on three levels, each half as wide as the one before."""

    def __init__(self, stem: nn.Module, channels: int) -> None:
        super().__init__()
        self.stem, self.out_channels = stem, channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        levels = [self.stem(images)]
        for _ in range(2):
            levels.append(nn.functional.avg_pool2d(levels[-1], 2))
        return {str(number): level for number, level in enumerate(levels)}


def importlib_detection(torchvision: Any) -> Any:
    return torchvision.models.detection


def pictures(shape: tuple[int, int, int], count: int = 2) -> Tensor:
    chance = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 7, 5, generator=chance)
    noise = torch.rand(count, *shape, generator=chance)
    smooth = nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
    return ((0.6 * smooth + 0.4 * noise) * 255).round() / 255


THRESHOLDS = {"ssdlite": 0.2, "ssd": 0.3, "retinanet": 0.02, "fcos": 0.08}


@pytest.mark.parametrize("shape", [None, (3, 200, 130), (3, 1, 1)], ids=["own", "tall", "pixel"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_the_library(make: Make, kind: str, shape: tuple[int, int, int] | None) -> None:
    model = make(kind, score_thresh=THRESHOLDS[kind])
    target = from_torchvision(model, input_shape=shape)
    images = pictures(target.space.shape)
    outcome = target.run(images)
    background = kind.startswith("ssd")
    for found, image in zip(outcome.outputs, images, strict=True):
        with torch.no_grad():
            theirs = model([image])[0]
        assert len(found) == len(theirs["boxes"])
        assert found.labels.tolist() == (theirs["labels"] - background).tolist()
        assert torch.allclose(found.scores, theirs["scores"])
        assert torch.allclose(found.boxes, theirs["boxes"], atol=1e-3)
    print(kind, shape, outcome.work.counts.tolist(), target.static_work().counts.tolist(), [len(f) for f in outcome.outputs])
