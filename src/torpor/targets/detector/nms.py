"""Greedy non-maximum suppression: exact, with a count of the pairs of boxes that it really compares."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.objects import Objects
from torpor.targets.detector.nms_pairs import Floats, Ints, compare

CANDIDATE_FLOPS = 3
"""FLOPs for each candidate: its area."""
PAIR_FLOPS = 13
"""FLOPs of one comparison: four of minimum and maximum, two clamped sides, the overlap, the union, a ratio, a test."""


@dataclass(frozen=True, kw_only=True)
class NMS:
    """The settings of a deployment. Its caps are part of the target: no attack is given larger ones.

    Attributes:
        conf: a box is a candidate if the score of its likeliest class is above this.
        multi_label: whether every class of a box whose score is above ``conf`` makes a candidate of its own.
        iou: a candidate goes if it overlaps a better one by more than this.
        max_nms: candidates that are compared at most, the best first.
        max_det: boxes that are kept at most, the best first.
        agnostic: whether boxes of different classes suppress each other.
        max_pairs: comparisons at most, the deployment's time limit; candidates that come after it are dropped. None
            for no limit.
        topk: candidates of each class, or of each level, that are compared at most, the best first. None for no limit.
        levels: boxes of each level of a feature pyramid, in the detector's order, if ``topk`` holds for each level.
    """

    conf: float = 0.25
    iou: float = 0.45
    max_nms: int = 30_000
    max_det: int = 300
    agnostic: bool = False
    max_pairs: int | None = None
    multi_label: bool = False
    topk: int | None = None
    levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("conf", self.conf), ("iou", self.iou)):
            if not 0 <= value <= 1:
                raise UsageError(f"expected {name} from 0 to 1, got {value}")
        for name in ("max_nms", "max_det", "max_pairs", "topk"):
            cap = getattr(self, name)
            if cap is not None and cap < 1:
                raise UsageError(f"expected {name} of 1 or more, got {cap}")

    def most(self, anchors: int, classes: int = 1) -> tuple[int, int, int]:
        """Return candidates, pairs and kept boxes at most, whatever ``anchors`` boxes of ``classes`` are proposed.

        Raises:
            UsageError: if the levels are of another detector.

        >>> NMS(max_nms=10, max_det=4).most(100)
        (100, 45, 4)
        >>> NMS(multi_label=True, topk=10).most(100, classes=2)  # 10 of each class
        (200, 90, 20)
        """
        if self.levels and sum(self.levels) != anchors:
            raise UsageError(f"expected levels of {anchors} boxes together, got {sum(self.levels)}; check the levels")
        per_box = classes if self.multi_label else 1
        candidates = compared = anchors * per_box
        alike = anchors  # of one class
        if self.topk is not None:
            compared = sum(min(level * per_box, self.topk) for level in self.levels) or min(
                compared, classes * self.topk
            )
            alike = sum(min(level, self.topk) for level in self.levels) or min(alike, self.topk)
        compared = min(compared, self.max_nms)
        most = max(1, compared if self.agnostic else min(alike, compared))
        whole, rest = divmod(compared, most)  # pairs are most where they are of as few classes as may be
        pairs = whole * (most * (most - 1) // 2) + rest * (rest - 1) // 2
        return candidates, pairs if self.max_pairs is None else min(pairs, self.max_pairs), min(compared, self.max_det)


def capped(nms: NMS, compared: int, kept: int) -> NMS:
    """Return ``nms`` with these caps where they are smaller.

    >>> capped(NMS(max_nms=50, max_det=10), 20, 30).max_nms, capped(NMS(max_nms=50, max_det=10), 20, 30).max_det
    (20, 10)
    """
    return replace(nms, max_nms=min(nms.max_nms, compared), max_det=min(nms.max_det, kept))


@dataclass(frozen=True, eq=False)
class Kept:
    """What is left of the boxes of one image, and the work that this took.

    Attributes:
        objects: kept boxes, the best first.
        index: which of the proposed boxes they are, int64 ``[K]``.
        candidates: boxes above the confidence threshold; with ``multi_label``, pairs of a box and a class.
        pairs: comparisons of two boxes.
    """

    objects: Objects
    index: Tensor
    candidates: int
    pairs: int


@dataclass(frozen=True, eq=False)
class Survivors:
    """What is left of the boxes of several images, and the work that each took.

    Attributes:
        image: of each kept box, int64 ``[K]``, rising; in an image, the best box is the first.
        box: which of the image's proposed boxes it is, int64 ``[K]``.
        labels: its class, int64 ``[K]``.
        counts: candidates, comparisons and kept boxes of each image, int64 ``[B, 3]``.
    """

    image: Ints
    box: Ints
    labels: Ints
    counts: Ints


def suppress(boxes: Tensor, scores: Tensor, settings: NMS) -> Kept:
    """Keep the best boxes of one image.

    Candidates are taken in the order of their scores, equal ones in the order of their index. Each is compared with
    the kept ones of its class, the best first, until one overlaps it too much or all have been seen: these are the
    pairs that a greedy implementation compares that does not stop at ``max_det``, whatever the order of its loops.

    Args:
        boxes: ``[N, 4]``: left, top, right, bottom.
        scores: ``[N, C]``; a box is of its likeliest class, and of the first among equals.
        settings: thresholds and caps.

    Raises:
        UsageError: if scores or boxes are NaN.

    >>> boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [8, 8, 9, 9]])
    >>> kept = suppress(boxes, torch.tensor([[0.9], [0.8], [0.7]]), NMS())
    >>> kept.index.tolist(), kept.candidates, kept.pairs  # the third box is compared with the first alone
    ([0, 2], 3, 2)
    """
    left = suppress_all(boxes[None], scores[None], settings)
    box, labels = (torch.from_numpy(column).to(boxes.device) for column in (left.box, left.labels))
    candidates, pairs, _ = left.counts[0].tolist()
    return Kept(Objects(boxes[box], labels, scores[box, labels]), box, candidates, pairs)


def suppress_all(boxes: Tensor, scores: Tensor, settings: NMS) -> Survivors:
    """Do what :func:`suppress` does for many images at once, each on its own: boxes ``[B, N, 4]``.

    Raises:
        UsageError: if scores or boxes are NaN.
    """
    total = scores.sum(dtype=torch.float64) + boxes.sum(dtype=torch.float64)  # of floats, which cannot overflow doubles
    if not math.isfinite(total.item()):
        raise UsageError("expected finite boxes and scores, got NaN or infinity; check the detector's weights")
    count, _, classes = scores.shape
    chosen, best, sides = _candidates(boxes, scores, settings)
    image, box, labels = chosen
    order = np.lexsort((-best, image))
    of_class = image * classes + labels
    if settings.topk is not None:
        groups = _levels(image, box, settings.levels) if settings.levels else of_class
        order = order[_rank(groups[order]) < settings.topk]
    if len(order) > settings.max_nms:
        order = order[_rank(image[order]) < settings.max_nms]
    of = image[order]
    compared, keep = compare(sides[order], of if settings.agnostic else of_class[order], settings.iou)
    pairs = np.bincount(of, compared, count)
    if settings.max_pairs is not None:
        reached = compared.cumsum() - (pairs.cumsum() - pairs)[of] <= settings.max_pairs
        pairs, keep = np.bincount(of, compared * reached, count), keep & reached
    kept = order[keep]
    if len(kept) > settings.max_det:
        kept = kept[_rank(image[kept]) < settings.max_det]
    counts = [np.bincount(image, minlength=count), pairs, np.bincount(image[kept], minlength=count)]
    return Survivors(image[kept], box[kept], labels[kept], np.stack(counts, 1).astype(np.int64))


def _candidates(boxes: Tensor, scores: Tensor, settings: NMS) -> tuple[Ints, NDArray[np.float64], Floats]:
    """Return image, box and class of each candidate ``[3, M]``, image by image, its score and its sides."""
    if settings.multi_label:
        places = (scores > settings.conf).nonzero()
        image, box, labels = places.unbind(1)
        best = scores[image, box, labels]
    else:
        image, box = (scores.amax(2) > settings.conf).nonzero().unbind(1)
        best, labels = scores[image, box].max(1)
        places = torch.stack([image, box, labels], 1)
    sides = boxes[image, box].detach().float()
    return places.cpu().numpy().T, best.detach().double().cpu().numpy(), sides.cpu().numpy()


def _levels(image: Ints, box: Ints, levels: tuple[int, ...]) -> Ints:
    """Return a number for the level and the image of each box, int64 ``[M]``."""
    return image * len(levels) + np.searchsorted(np.cumsum(levels[:-1]), box, "right")


def _rank(groups: Ints) -> Ints:
    """Return for each element how many of its group come before it, int64 ``[M]``."""
    together = groups.argsort(kind="stable")
    sizes = np.bincount(groups)
    rank = np.empty_like(groups)
    rank[together] = np.arange(len(groups)) - (sizes.cumsum() - sizes)[groups[together]]
    return rank
