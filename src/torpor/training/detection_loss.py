"""What a detector is asked for: which cell is to find which object, and how wrong it is.

The assignment is SimOTA of YOLOX (Ge et al., arXiv:2107.08430, section 2.1), for all images of a batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.core.objects import Objects

RADIUS = 2.5
"""A cell may find an object if its center is in the box, or this many strides from the box's center at most."""
CANDIDATES = 10
"""An object gets as many cells as the sum of this many best IoU, rounded down."""
IOU_COST = 3.0
"""Weight of the logarithm of the IoU in the cost of a cell, beside that of the class."""
IOU_LOSS = 5.0
"""Weight of the box in the loss."""
FAR = 1e5
"""Cost of a cell that is near the box's center or in the box, but not both."""
NEVER = 1e9
"""Cost of a cell that is neither, or of an object that is padding."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The ground truth of a batch: its objects, padded.

    Attributes:
        boxes: ``[B, G, 4]``.
        labels: int64 ``[B, G]``.
        there: which are not padding, bool ``[B, G]``.
    """

    boxes: Tensor
    labels: Tensor
    there: Tensor

    @staticmethod
    def of(objects: Sequence[Objects]) -> GroundTruth:
        """Pad the objects of each image to the most that one has.

        >>> one = Objects(torch.ones(1, 4), torch.tensor([3]))
        >>> GroundTruth.of([one, Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]).there.tolist()
        [[True], [False]]
        """
        most = max(1, *(len(known) for known in objects))
        boxes = torch.zeros(len(objects), most, 4)
        labels = torch.zeros(len(objects), most, dtype=torch.int64)
        there = torch.zeros(len(objects), most, dtype=torch.bool)
        for row, known in enumerate(objects):
            here = np.s_[row, : len(known)]
            boxes[here], labels[here], there[here] = known.boxes, known.labels, True
        return GroundTruth(boxes, labels, there)

    def to(self, device: torch.device) -> GroundTruth:
        """Return the same on ``device``."""
        return GroundTruth(self.boxes.to(device), self.labels.to(device), self.there.to(device))


def paired_iou(one: Tensor, other: Tensor) -> Tensor:
    """Return the IoU of boxes ``[..., 4]`` with those in the same place, ``[...]``; shapes broadcast.

    >>> paired_iou(torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 3, 2])).item()
    0.3333333432674408
    """
    size = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])
    inside = size.clamp_min(0).prod(-1)
    areas = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1)
    return inside / (areas - inside).clamp_min(1e-9)


@torch.no_grad()
def assign(
    boxes: Tensor, objectness: Tensor, classes: Tensor, cells: Tensor, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    """Return for each cell whether it is to find an object, bool ``[B, N]``, and which, int64 ``[B, N]``.

    An object goes to the cells that find it best already, among those near it; a cell that several objects want
    takes the cheapest.

    Args:
        boxes: proposed, ``[B, N, 4]``.
        objectness: logits ``[B, N]``.
        classes: logits ``[B, N, L]``.
        cells: x, y and stride of each, ``[N, 3]``.
        truth: the ground truth.
    """
    iou = paired_iou(truth.boxes[:, :, None], boxes[:, None])  # [B, G, N]
    cost = _class_cost(objectness, classes, truth.labels) - IOU_COST * (iou + 1e-8).log()
    x, y, stride = cells.unbind(1)
    left, top, right, bottom = truth.boxes.unsqueeze(2).unbind(-1)  # [B, G, 1]
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    reach = RADIUS * stride
    near = ((x - (left + right) / 2).abs() < reach) & ((y - (top + bottom) / 2).abs() < reach)
    cost = cost + FAR * ~(inside & near) + NEVER * ~((inside | near) & truth.there.unsqueeze(2))
    most = min(CANDIDATES, len(cells))
    wanted = (iou * (inside | near)).topk(most, 2).values.sum(2).int().clamp(1, most)
    cheapest, order = cost.topk(most, 2, largest=False)
    chosen = (torch.arange(most, device=cost.device) < wanted.unsqueeze(2)) & (cheapest < NEVER)
    matched = torch.zeros_like(cost, dtype=torch.bool).scatter_(2, order, chosen)
    return matched.any(1), torch.where(matched, cost, 2 * NEVER).argmin(1)


def _class_cost(objectness: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each cell's scores if it had to find each object, ``[B, G, N]``."""
    scores = (objectness.sigmoid().unsqueeze(-1) * classes.sigmoid()).sqrt()
    right, wrong = -scores.clamp_min(1e-7).log(), -(1 - scores).clamp_min(1e-7).log()
    index = labels.unsqueeze(1).expand(-1, scores.shape[1], -1)
    return (wrong.sum(2, keepdim=True) + (right - wrong).gather(2, index)).transpose(1, 2)


def detection_loss(boxes: Tensor, objectness: Tensor, classes: Tensor, cells: Tensor, truth: GroundTruth) -> Tensor:
    """Return the loss per assigned cell: of boxes, of objectness, and of classes, which are to tell the IoU too.

    Args:
        boxes: proposed, ``[B, N, 4]``.
        objectness: logits ``[B, N]``.
        classes: logits ``[B, N, L]``.
        cells: x, y and stride of each, ``[N, 3]``.
        truth: the ground truth.
    """
    found, which = assign(boxes, objectness, classes, cells, truth)
    row = torch.arange(len(boxes), device=boxes.device).unsqueeze(1).expand_as(which)[found]
    iou = paired_iou(boxes[found], truth.boxes[row, which[found]])
    of_class = F.one_hot(truth.labels[row, which[found]], classes.shape[2]) * iou.detach().unsqueeze(1)
    total = IOU_LOSS * (1 - iou.square()).sum()
    total = total + F.binary_cross_entropy_with_logits(objectness, found.to(objectness), reduction="sum")
    total = total + F.binary_cross_entropy_with_logits(classes[found], of_class, reduction="sum")
    return total / found.sum().clamp_min(1)
