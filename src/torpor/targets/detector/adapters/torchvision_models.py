"""One-stage detectors of torchvision as targets: SSD, SSDlite, RetinaNet and FCOS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.detector.adapters.library import library
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS

Head = Mapping[str, Tensor]


def _ssd_scores(head: Head) -> Tensor:
    return head["cls_logits"].softmax(-1)[..., 1:]  # the first class is the background


def _retinanet_scores(head: Head) -> Tensor:
    return head["cls_logits"].sigmoid()


def _fcos_scores(head: Head) -> Tensor:
    return (head["cls_logits"].sigmoid() * head["bbox_ctrness"].sigmoid()).sqrt()


SCORES: dict[str, Callable[[Head], Tensor]] = {
    "SSD": _ssd_scores,
    "RetinaNet": _retinanet_scores,
    "FCOS": _fcos_scores,
}
"""How each supported class of model scores its boxes."""


class OneStage(nn.Module):
    """A model up to its thresholds: it resizes, proposes, and maps boxes back to pixels of the input.

    Args:
        model: of torchvision.
        scores: how it scores boxes.
    """

    def __init__(self, model: Any, scores: Callable[[Head], Tensor]) -> None:  # noqa: ANN401 - torchvision's own
        super().__init__()
        self.model = model
        self.scores = scores

    def look(self, images: Tensor) -> tuple[Any, list[Tensor]]:
        """Return images as the model resizes and standardizes them, and their features on every level."""
        resized, _ = self.model.transform(list(images))
        features = self.model.backbone(resized.tensors)
        return resized, [features] if isinstance(features, Tensor) else list(features.values())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return all boxes ``[B, N, 4]``, clipped to the image, and their scores ``[B, N, L]``."""
        resized, features = self.look(images)
        head = self.model.head(features)
        anchors = torch.cat(self.model.anchor_generator(resized, features))
        coder = self.model.box_coder
        decode = getattr(coder, "decode_single", None) or coder.decode
        boxes = decode(head["bbox_regression"].flatten(0, 1), anchors).view(len(images), -1, 4)
        height, width = resized.image_sizes[0]
        inside = boxes.new_tensor([width, height, width, height])
        ratio = boxes.new_tensor([images.shape[3], images.shape[2]] * 2) / inside
        return torch.minimum(boxes.clamp_min(0), inside) * ratio, self.scores(head)


def from_torchvision(
    model: Any,  # noqa: ANN401 - torchvision's own classes
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    data: Callable[[Path | None], DataSet] | None = None,
) -> DetectorTarget:
    """Make a target of a one-stage detector of torchvision: SSD, SSDlite, RetinaNet or FCOS.

    Thresholds and caps are the model's own: ``score_thresh``, ``nms_thresh``, ``detections_per_img`` and
    ``topk_candidates``, of each class for SSD, of each level of the pyramid for the others. Every class of a box above
    the threshold is a candidate, as in torchvision; ``nms_pair`` counts pairs of one class alone, though torchvision
    moves the classes of few boxes apart and compares them all. SSD's labels are torchvision's less one, since the
    background is none here.

    Args:
        model: of torchvision; images in [0, 1] are resized and standardized by the model itself.
        input_shape: ``(3, H, W)`` of the images that are sent; if None, the size that the model resizes to.
        classes: their names; COCO's where the model has as many.
        name: shown in reports; the model's class if None.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None); COCO images if None.

    Raises:
        UsageError: if torchvision is missing, or the model is of another kind.
        MeterError: if its FLOPs cannot be counted.
    """
    kinds = [each.__name__ for each in type(model).__mro__ if each.__module__.startswith("torchvision.")]
    kind = next((kind for kind in kinds if kind in SCORES), None)
    if kind is None:
        raise UsageError(
            f"expected an SSD, RetinaNet or FCOS of torchvision, got {type(model).__name__}; a detector of two stages "
            "computes on boxes that suppression chose already, write a CandidateTarget for it"
        )
    network = OneStage(model.eval(), SCORES[kind])
    shape = input_shape or _own_shape(model)
    with torch.no_grad():
        blank = torch.zeros(1, *shape, device=next(model.parameters()).device)
        _, features = network.look(blank)
        scored = network(blank)[1].shape[2]
    names = tuple(classes or _names(scored))
    places = model.anchor_generator.num_anchors_per_location()
    levels = tuple(each.shape[2] * each.shape[3] * here for each, here in zip(features, places, strict=True))
    groups = scored if kind == "SSD" else len(levels)
    nms = NMS(
        conf=model.score_thresh,
        iou=model.nms_thresh,
        max_nms=model.topk_candidates * groups,
        max_det=model.detections_per_img,
        multi_label=True,
        topk=model.topk_candidates,
        levels=() if kind == "SSD" else levels,
    )
    return DetectorTarget(
        network,
        input_shape=shape,
        classes=names,
        nms=nms,
        name=name or type(model).__name__.lower(),
        letterbox=model.transform.fixed_size is None,
        data=data,
    )


def _own_shape(model: Any) -> tuple[int, int, int]:  # noqa: ANN401
    if model.transform.fixed_size is not None:
        width, height = model.transform.fixed_size
        return 3, height, width
    side = model.transform.min_size[-1]
    return 3, side, side


def _names(count: int) -> Sequence[str]:
    """Return the names of COCO's 91 numbers, with or without the background; else plain numbers."""
    coco = library("torchvision.models.detection").SSD300_VGG16_Weights.COCO_V1.meta["categories"]
    known = {len(coco): coco, len(coco) - 1: coco[1:]}
    return known.get(count) or [str(number) for number in range(count)]
