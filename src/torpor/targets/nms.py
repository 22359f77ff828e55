"""Greedy non-maximum suppression: exact, with a count of the pairs of boxes that it really compares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.objects import Objects, box_iou

CANDIDATE_FLOPS = 3
"""FLOPs for each candidate: its area."""
PAIR_FLOPS = 13
"""FLOPs of one comparison: four of minimum and maximum, two clamped sides, the overlap, the union, a ratio, a test."""
BLOCK = 256
"""Candidates that are looked at together; any other number gives the same result and the same count."""


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


@dataclass(frozen=True, eq=False)
class Kept:
    """What is left of the boxes of one picture, and the work that this took.

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


def suppress(boxes: Tensor, scores: Tensor, settings: NMS) -> Kept:
    """Keep the best boxes of one picture.

    Candidates are taken in the order of their scores, equal ones in the order of their index. Each is compared with
    the kept ones of its class, the best first, until one overlaps it too much or all have been seen: these are the
    pairs that every greedy implementation compares, whatever the order of its loops.

    Args:
        boxes: ``[N, 4]``: left, top, right, bottom.
        scores: ``[N, C]``; a box is of its likeliest class, and of the first among equals.
        settings: thresholds and caps.

    Raises:
        UsageError: if scores or boxes are no numbers.

    >>> boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [8, 8, 9, 9]])
    >>> kept = suppress(boxes, torch.tensor([[0.9], [0.8], [0.7]]), NMS())
    >>> kept.index.tolist(), kept.candidates, kept.pairs  # the third box is compared with the first alone
    ([0, 2], 3, 2)
    """
    if not (scores.isfinite().all() and boxes.isfinite().all()):
        raise UsageError("expected finite boxes and scores, got NaN or infinity; check the detector's weights")
    box, labels = _candidates(scores, settings)
    best = scores[box, labels]
    order = best.argsort(descending=True, stable=True)
    if settings.topk is not None:
        ends = torch.tensor(settings.levels[:-1], device=box.device).cumsum(0)
        groups = torch.bucketize(box, ends, right=True) if settings.levels else labels
        order = order[_rank(groups[order]) < settings.topk]
    order = order[: settings.max_nms]
    compared, keep = compare(
        boxes[box[order]], torch.zeros_like(order) if settings.agnostic else labels[order], settings.iou
    )
    if settings.max_pairs is not None:
        reached = compared.cumsum(0) <= settings.max_pairs
        compared, keep = compared[reached], keep[: len(reached)] & reached
    kept = order[keep][: settings.max_det]
    objects = Objects(boxes[box[kept]], labels[kept], best[kept])
    return Kept(objects, box[kept], len(box), int(compared.sum()))


def _candidates(scores: Tensor, settings: NMS) -> tuple[Tensor, Tensor]:
    """Return the box and the class of each candidate, int64 ``[M]`` twice."""
    if settings.multi_label:
        box, labels = (scores > settings.conf).nonzero().unbind(1)
        return box, labels
    best, labels = scores.max(1)
    box = (best > settings.conf).nonzero().flatten()
    return box, labels[box]


def _rank(groups: Tensor) -> Tensor:
    """Return for each element how many of its group come before it, int64 ``[M]``."""
    together = groups.argsort(stable=True)
    sizes = torch.bincount(groups)
    rank = torch.empty_like(groups)
    rank[together] = torch.arange(len(groups), device=groups.device) - (sizes.cumsum(0) - sizes)[groups[together]]
    return rank


def compare(boxes: Tensor, labels: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """Return for sorted ``boxes`` ``[M, 4]`` how many kept ones each is compared with, int64 ``[M]``, and which stay.

    Works on blocks: everything kept before is compared with a whole block at once; inside of a block, what stays is
    found by repetition, which ends at the greedy result because each round settles one more box at least.
    """
    compared = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    keep = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for start in range(0, len(boxes), BLOCK):
        here = slice(start, start + BLOCK)
        before = keep[:start].nonzero().flatten()
        same = labels[before, None] == labels[here]
        hit = same & (box_iou(boxes[before], boxes[here]) > iou)
        free = ~hit.any(0)
        inner = (labels[here, None] == labels[here]).triu(1)
        inner_hit = inner & (box_iou(boxes[here], boxes[here]) > iou)
        stays = free
        while not torch.equal(now := free & ~(inner_hit & stays[:, None]).any(0), stays):
            stays = now
        keep[here] = stays
        compared[here] = _until(same, hit) + free * _until(inner & stays[:, None], inner_hit)
    return compared, keep


def _until(compares: Tensor, hits: Tensor) -> Tensor:
    """Count the rows that each column compares with, up to the first that hits: bool ``[N, M]`` twice, ``[M]``."""
    after = (hits & compares).cumsum(0) - (hits & compares).to(torch.int64) > 0
    return (compares & ~after).sum(0)
