"""YOLO detectors of ultralytics as targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.core.errors import UsageError
from torpor.data.coco import CLASSES
from torpor.data.images import GRAY
from torpor.data.sets import DataSet
from torpor.targets.detector.adapters.library import library
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS


class YOLO(nn.Module):
    """A model up to its thresholds; images are letterboxed with gray up to a multiple of the model's stride.

    Args:
        model: of ultralytics.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - ultralytics' own
        super().__init__()
        self.model = model
        self.stride = int(model.stride.max())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return all boxes ``[B, N, 4]`` and their scores ``[B, N, L]``."""
        down, across = (-size % self.stride for size in images.shape[2:])
        top, left = down // 2, across // 2
        padded = F.pad(images, (left, across - left, top, down - top), value=GRAY / 255)
        found = self.model(padded)
        found = found[0] if isinstance(found, tuple | list) else found
        middle, sides, scores = found.transpose(1, 2).split((2, 2, found.shape[1] - 4), 2)
        corner = middle.new_tensor([left, top])
        return torch.cat([middle - sides / 2 - corner, middle + sides / 2 - corner], 2), scores


def from_ultralytics(
    model: Any,  # noqa: ANN401 - ultralytics' own classes
    *,
    input_shape: tuple[int, int, int] = (3, 640, 640),
    nms: NMS | None = None,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    data: Callable[[Path | None], DataSet] | None = None,
) -> DetectorTarget:
    """Make a target of an ultralytics model that detects boxes and suppresses them, such as YOLOv5, v8 or 11.

    FLOPs are those of the model as it is given; the library fuses it first, which removes a head that is not used (of
    YOLO26). Boxes are as the model proposes them; the library's predictor clips those that are kept to the image.

    Suppression here is exact within each class, and ``nms_pair`` counts pairs of one class alone; the library moves
    boxes by 7680 pixels per class and suppresses all together, so it compares boxes of different classes as well, and
    its float32 coordinates are rounded, by up to 1/32 of a pixel for the 80th class, where an overlap that close to the
    threshold may be decided otherwise.

    Args:
        model: ``ultralytics.YOLO``, or the ``DetectionModel`` in it.
        input_shape: ``(3, H, W)`` of the images that are sent; they are not resized any more.
        nms: thresholds and caps that the deployment passes to ``predict``; if None, the library's defaults.
        classes: their names; the model's if None, and COCO's if those are 80 numbers.
        name: shown in reports; that of the model's configuration if None.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None); COCO images if None.

    Raises:
        UsageError: if ultralytics is missing, or the model does something else.
        MeterError: if its FLOPs cannot be counted.
    """
    network: Any = model.model if hasattr(model, "predictor") else model  # a YOLO holds its network
    layers = getattr(network, "model", None)
    head: Any = layers[-1] if isinstance(layers, nn.Sequential) else network
    if type(head) is not library("ultralytics.nn.modules").Detect or getattr(head, "end2end", False):
        what = type(head).__name__ + (" (end2end)" if getattr(head, "end2end", False) else "")
        raise UsageError(
            f"expected an ultralytics model that detects boxes and suppresses them, got {what}; choose another, such "
            "as yolov8n or yolo11n"
        )
    head.shape = None  # forget anchors of an earlier prediction, which have no part in gradients
    if nms is None:
        defaults = {**vars(library("ultralytics.utils").DEFAULT_CFG), **getattr(model, "overrides", {})}
        conf = defaults["conf"] or NMS.conf  # the library's own default is None, which stands for 0.25
        nms = NMS(conf=conf, iou=defaults["iou"], max_det=defaults["max_det"], agnostic=defaults["agnostic_nms"])
    known = [str(network.names[number]) for number in sorted(network.names)]
    if len(known) == len(CLASSES) and all(each.isdecimal() for each in known):
        known = list(CLASSES)
    return DetectorTarget(
        YOLO(network),
        input_shape=input_shape,
        classes=classes or known,
        nms=nms,
        name=name or Path(str(network.yaml.get("yaml_file", "yolo"))).stem,
        data=data,
    )
