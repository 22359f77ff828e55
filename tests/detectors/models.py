"""Small models of other people with random weights that find something; equal calls give equal models."""

from __future__ import annotations

from typing import Any

import libraries
import torch
from photos import sample_images
from torch import Tensor, nn

KINDS = ("ssdlite", "ssd", "retinanet", "fcos")


class Pyramid(nn.Module):
    """Features on three levels, each half as wide as the one before."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, self.out_channels, 3, 8, 1), nn.ReLU())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        levels = [self.stem(images)]
        for _ in range(2):
            levels.append(nn.functional.avg_pool2d(levels[-1], 2))
        return {str(number): level for number, level in enumerate(levels)}


def torchvision_model(kind: str, **options: Any) -> Any:  # noqa: ANN401 - the library's own
    """Return a model of one of ``KINDS`` whose scores differ."""
    detection = libraries.torchvision().models.detection
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = _make(detection, kind, options)
        for part in model.modules():  # not so small that all scores are equal
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
    return model.eval()


def _make(detection: Any, kind: str, options: dict[str, Any]) -> Any:  # noqa: ANN401
    if kind == "ssdlite":
        return detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=6, **options)
    backbone = Pyramid()
    if kind == "ssd":
        boxes = detection.anchor_utils.DefaultBoxGenerator([[2], [2, 3], [2]])
        head = detection.ssd.SSDHead([backbone.out_channels] * 3, boxes.num_anchors_per_location(), 4)
        return detection.ssd.SSD(backbone, boxes, (120, 96), 4, head=head, **options)
    scales = (1.0, 1.4) if kind == "retinanet" else (1.0,)
    sizes = tuple(tuple(side * scale for scale in scales) for side in (16.0, 32.0, 64.0))
    anchors = detection.anchor_utils.AnchorGenerator(sizes, ((1.0,),) * 3)
    kinds = {"retinanet": detection.RetinaNet, "fcos": detection.FCOS}
    return kinds[kind](backbone, 5, min_size=96, max_size=160, anchor_generator=anchors, **options)


def yolo(classes: int = 3, config: str = "yolov8n.yaml") -> Any:  # noqa: ANN401
    """Return a network whose logits have mean 0 and deviation 1 on :func:`sample_images`."""
    tasks = libraries.ultralytics().nn.tasks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = tasks.DetectionModel(config, nc=classes, verbose=False).eval()
        for part in network.modules():
            if isinstance(part, nn.Conv2d) and part.weight.requires_grad:
                nn.init.normal_(part.weight, std=1.5 / part.weight[0].numel() ** 0.5)
    last = [layers[-1] for layers in network.model[-1].cv3]
    with torch.no_grad():
        for layer in last:
            layer.bias.zero_()
        logits = network(sample_images((3, 96, 96)))[0][:, 4:].logit()
        for layer in last:
            layer.weight /= logits.std()
            layer.bias -= logits.mean() / logits.std()
    return network
