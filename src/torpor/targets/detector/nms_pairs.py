"""The pairs of boxes that greedy suppression compares: which stay, and how many comparisons that takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 14
"""Pairs that are looked at together at most; any other number gives the same result and the same count."""
DENSE = 1 / 8
"""Share of pairs that touch from which on it is faster to compute the ratio of all."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


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
            compared[rest[gone]] -= len(best) - 1 - hits[:, gone].argmax(0)  # those after the first that overlaps
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
