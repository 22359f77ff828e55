"""Greedy non-maximum suppression: exact, with a count of the pairs of boxes that it really compares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.objects import Objects

CANDIDATE_FLOPS = 3
"""FLOPs for each candidate: its area."""
PAIR_FLOPS = 13
"""FLOPs of one comparison: four of minimum and maximum, two clamped sides, the overlap, the union, a ratio, a test."""
BLOCK = 1 << 14
"""Pairs that are looked at together at most; any other number gives the same result and the same count."""
DENSE = 1 / 8
"""Share of pairs that touch from which on it is faster to compute the ratio of all."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


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


@dataclass(frozen=True, eq=False)
class Survivors:
    """What is left of the boxes of several pictures, and the work that each took.

    Attributes:
        picture: of each kept box, int64 ``[K]``, rising; in a picture, the best box is the first.
        box: which of the picture's proposed boxes it is, int64 ``[K]``.
        labels: its class, int64 ``[K]``.
        counts: candidates, comparisons and kept boxes of each picture, int64 ``[B, 3]``.
    """

    picture: Ints
    box: Ints
    labels: Ints
    counts: Ints


def suppress(boxes: Tensor, scores: Tensor, settings: NMS) -> Kept:
    """Keep the best boxes of one picture.

    Candidates are taken in the order of their scores, equal ones in the order of their index. Each is compared with
    the kept ones of its class, the best first, until one overlaps it too much or all have been seen: these are the
    pairs that a greedy implementation compares that does not stop at ``max_det``, whatever the order of its loops.

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
    left = suppress_all(boxes[None], scores[None], settings)
    box, labels = (torch.from_numpy(column).to(boxes.device) for column in (left.box, left.labels))
    candidates, pairs, _ = left.counts[0].tolist()
    return Kept(Objects(boxes[box], labels, scores[box, labels]), box, candidates, pairs)


def suppress_all(boxes: Tensor, scores: Tensor, settings: NMS) -> Survivors:
    """Do what :func:`suppress` does for many pictures at once, each on its own: boxes ``[B, N, 4]``.

    Raises:
        UsageError: if scores or boxes are no numbers.
    """
    total = scores.sum(dtype=torch.float64) + boxes.sum(dtype=torch.float64)  # of floats, which cannot overflow doubles
    if not math.isfinite(total.item()):
        raise UsageError("expected finite boxes and scores, got NaN or infinity; check the detector's weights")
    count, _, classes = scores.shape
    chosen, best, sides = _candidates(boxes, scores, settings)
    picture, box, labels = chosen
    order = np.lexsort((-best, picture))
    of_class = picture * classes + labels
    if settings.topk is not None:
        groups = _levels(picture, box, settings.levels) if settings.levels else of_class
        order = order[_rank(groups[order]) < settings.topk]
    if len(order) > settings.max_nms:
        order = order[_rank(picture[order]) < settings.max_nms]
    of = picture[order]
    compared, keep = compare(sides[order], of if settings.agnostic else of_class[order], settings.iou)
    pairs = np.bincount(of, compared, count)
    if settings.max_pairs is not None:
        reached = compared.cumsum() - (pairs.cumsum() - pairs)[of] <= settings.max_pairs
        pairs, keep = np.bincount(of, compared * reached, count), keep & reached
    kept = order[keep]
    if len(kept) > settings.max_det:
        kept = kept[_rank(picture[kept]) < settings.max_det]
    counts = [np.bincount(picture, minlength=count), pairs, np.bincount(picture[kept], minlength=count)]
    return Survivors(picture[kept], box[kept], labels[kept], np.stack(counts, 1).astype(np.int64))


def _candidates(boxes: Tensor, scores: Tensor, settings: NMS) -> tuple[Ints, NDArray[np.float64], Floats]:
    """Return picture, box and class of each candidate ``[3, M]``, picture by picture, its score and its sides."""
    if settings.multi_label:
        places = (scores > settings.conf).nonzero()
        picture, box, labels = places.unbind(1)
        best = scores[picture, box, labels]
    else:
        picture, box = (scores.amax(2) > settings.conf).nonzero().unbind(1)
        best, labels = scores[picture, box].max(1)
        places = torch.stack([picture, box, labels], 1)
    sides = boxes[picture, box].detach().float()
    return places.cpu().numpy().T, best.detach().double().cpu().numpy(), sides.cpu().numpy()


def _levels(picture: Ints, box: Ints, levels: tuple[int, ...]) -> Ints:
    """Return a number for the level and the picture of each box, int64 ``[M]``."""
    return picture * len(levels) + np.searchsorted(np.cumsum(levels[:-1]), box, "right")


def _rank(groups: Ints) -> Ints:
    """Return for each element how many of its group come before it, int64 ``[M]``."""
    together = groups.argsort(kind="stable")
    sizes = np.bincount(groups)
    rank = np.empty_like(groups)
    rank[together] = np.arange(len(groups)) - (sizes.cumsum() - sizes)[groups[together]]
    return rank


def compare(boxes: Floats, labels: Ints, iou: float) -> tuple[Ints, Bools]:
    """Return for sorted ``boxes`` ``[M, 4]`` how many kept ones each is compared with ``[M]``, and which stay ``[M]``.

    Boxes are taken class by class, in blocks: those of a block are compared with each other, then what is kept of them
    with all that still wait. What overlaps waits no more.
    """
    order = labels.argsort(kind="stable")
    sides, labels = np.ascontiguousarray(boxes[order].T), labels[order]
    compared, keep = np.zeros(len(order), dtype=np.int64), np.zeros(len(order), dtype=np.bool_)
    waiting = np.arange(len(order))
    while len(waiting):
        pairs = _ahead(labels[waiting[:BLOCK]]).cumsum()
        rows, waiting = np.split(waiting, [np.searchsorted(pairs, BLOCK, "right")])
        inside, stays = _compare_block(sides.take(rows, 1), labels[rows], iou)
        compared[rows] += inside
        keep[rows[stays]] = True
        same = np.searchsorted(labels[waiting], labels[rows[-1]], "right")
        if same:
            best, rest = rows[stays & (labels[rows] == labels[rows[-1]])], waiting[:same]
            hits = overlap_more(sides.take(best, 1), sides.take(rest, 1), iou)
            gone = hits.any(0)
            compared[rest] += len(best)
            compared[rest[gone]] -= len(best) - 1 - hits[:, gone].argmax(0)  # those behind the first that overlaps
            waiting = np.concatenate([rest[~gone], waiting[same:]])
    back = order.argsort()
    return compared[back], keep[back]


def _ahead(labels: Ints) -> Ints:
    """Return how many of its class come before each of sorted ``labels``, int64 ``[M]``."""
    return np.arange(len(labels)) - np.searchsorted(labels, labels)


def _compare_block(sides: Floats, labels: Ints, iou: float) -> tuple[Ints, Bools]:
    """Do what :func:`compare` does for one block; what stays is found by repetition.

    It ends at the greedy result, because each round settles one more box at least.
    """
    ahead, rows = _ahead(labels), np.arange(len(labels))
    worse = np.repeat(rows, ahead)  # pairs of a box and a better one of its class, the best first
    better = np.arange(len(worse)) - np.repeat(ahead.cumsum() - rows, ahead)
    hits = np.flatnonzero(_ratio(sides.take(better, 1), sides.take(worse, 1)) > iou)
    worse, better = worse[hits], better[hits]
    stays = np.ones(len(rows), dtype=np.bool_)
    while True:
        now = np.ones_like(stays)
        now[worse[stays[better]]] = False
        if np.array_equal(now, stays):
            break
        stays = now
    seen = stays.cumsum() - stays
    seen -= seen[rows - ahead]  # kept ones of the same class alone
    ends = np.flatnonzero(stays[better])[::-1]  # of several that overlap, the best is assigned last
    compared = seen.copy()
    compared[worse[ends]] = seen[better[ends]] + 1
    return compared, stays


def overlap_more(one: Floats, other: Floats, iou: float) -> Bools:
    """Tell which boxes overlap by more than ``iou``, exactly as :func:`torpor.core.objects.box_iou` has it.

    Most boxes do not even touch, which four comparisons tell; only for the others a ratio is computed.

    Args:
        one: left, top, right, bottom, ``[4, N]``.
        other: likewise, ``[4, M]``.
        iou: threshold.

    >>> overlap_more(np.array([[0.0], [0], [2], [2]]), np.array([[0.0, 1], [0, 0], [2, 3], [1, 2]]), 0.4).tolist()
    [[True, False]]
    """
    one, other = one[:, :, None], other[:, None]
    hits: Bools = one[0] < other[2]
    hits &= other[0] < one[2]
    hits &= one[1] < other[3]
    hits &= other[1] < one[3]
    if np.count_nonzero(hits) > DENSE * hits.size:
        hits &= _ratio(one, other) > iou
        return hits
    touching = np.flatnonzero(hits)  # much faster than nonzero in two dimensions
    rows, columns = np.divmod(touching, hits.shape[1])
    hits.ravel()[touching] = _ratio(one[:, rows, 0], other[:, 0, columns]) > iou
    return hits


def _ratio(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union of boxes ``[4, ...]``, NaN if neither has an area."""
    with np.errstate(all="ignore"):
        width = (np.minimum(one[2], other[2]) - np.maximum(one[0], other[0])).clip(0)
        height = (np.minimum(one[3], other[3]) - np.maximum(one[1], other[1])).clip(0)
        inside = width * height
        area, other_area = ((sides[2] - sides[0]) * (sides[3] - sides[1]) for sides in (one, other))
        ratio: Floats = inside / (area + other_area - inside)
    return ratio
