"""Average precision of detections against the ground truth, as COCO defines it (Lin et al., ECCV 2014)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torpor.core.errors import UsageError
from torpor.core.objects import Objects, box_iou

IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""The overlaps that :func:`mean_average_precision` takes the mean over."""
RECALLS = np.linspace(0, 1, 101)
"""The recalls at which COCO reads the precision."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def average_precision(found: Sequence[Objects], true: Sequence[Objects], iou: float = 0.5) -> float:
    """Return the average precision over the images of a set, the mean over the classes that are there, from 0 to 1.

    In each image detections take, the best score first, the free object of their class that they overlap most, by at
    least ``iou``. The precision of all images' detections is then read at 101 recalls. All areas count, and as many
    detections as there are.

    Where nothing is there COCO defines nothing. Here a set of empty images scores 1 if nothing is found, else 0.

    Args:
        found: detections of each image, with scores.
        true: objects of each image.
        iou: overlap that a detection needs.

    Raises:
        UsageError: if detections have no scores.

    >>> import torch
    >>> cat = Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1]))
    >>> twice = Objects(torch.tensor([[0.0, 0, 9, 9], [0, 0, 4, 3]]), torch.tensor([1, 1]), torch.tensor([0.9, 0.8]))
    >>> round(average_precision([twice], [cat]), 6), round(average_precision([twice], [cat], iou=0.8), 6)
    (0.5, 0.0)
    """
    return float(_precisions(found, true, (iou,))[0])


def mean_average_precision(found: Sequence[Objects], true: Sequence[Objects]) -> float:
    """Return the mean of :func:`average_precision` at IoU 0.5, 0.55, ..., 0.95: COCO's mAP@[.5:.95].

    >>> import torch
    >>> cat = Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1]))
    >>> round(mean_average_precision([Objects(cat.boxes * 0.9, cat.labels, torch.ones(1))], [cat]), 6)  # IoU 0.81
    0.7
    """
    return float(_precisions(found, true, IOUS).mean())


def _precisions(found: Sequence[Objects], true: Sequence[Objects], ious: Sequence[float]) -> Floats:
    """Return the average precision at each of ``ious``."""
    if any(seen.scores is None for seen in found):
        raise UsageError("expected detections with scores, got none; pass what a detector found")
    classes = sorted({label for there in true for label in there.labels.tolist()})
    if not classes:
        return np.full(len(ious), 0.0 if any(len(seen) for seen in found) else 1.0)
    mean: Floats = np.mean([_of_class(found, true, label, np.array(ious)) for label in classes], axis=0)
    return mean


def _of_class(found: Sequence[Objects], true: Sequence[Objects], label: int, ious: Floats) -> Floats:
    """Return the average precision of one class at each of ``ious``."""
    scores, hits, total = [np.zeros(0)], [np.zeros((len(ious), 0), dtype=np.bool_)], 0
    for seen, there in zip(found, true, strict=True):
        known = there.boxes[there.labels == label]
        total += len(known)
        mine = seen.labels == label
        assert seen.scores is not None
        score = seen.scores[mine].double().numpy()
        order = (-score).argsort(kind="stable")
        overlap = box_iou(seen.boxes[mine].double(), known.double()).nan_to_num(0).numpy()
        scores.append(score[order])
        hits.append(greedy_hits(overlap[order], ious))
    order = (-np.concatenate(scores)).argsort(kind="stable")
    return np.array([_area(row, total) for row in np.concatenate(hits, axis=1)[:, order]])


def greedy_hits(overlap: Floats, ious: Floats) -> Bools:
    """Tell which detections find an object of their own, bool ``[T, K]``.

    Args:
        overlap: of each detection, the best first, with each object, ``[K, G]``.
        ious: overlaps that are needed, ``[T]``.

    >>> greedy_hits(np.array([[0.8], [0.9]]), np.array([0.5, 0.85])).tolist()
    [[True, False], [False, True]]
    """
    hits = np.zeros((len(ious), len(overlap)), dtype=np.bool_)
    if overlap.shape[1] == 0:
        return hits
    taken = np.zeros((len(ious), overlap.shape[1]), dtype=np.bool_)
    last, needed = overlap.shape[1] - 1, np.minimum(ious, 1 - 1e-10)
    for place, row in enumerate(overlap):
        free = np.where(taken, -1.0, row)
        best = last - free[:, ::-1].argmax(1)  # the last among equals, as in COCO's own code
        hits[:, place] = free.max(1) >= needed
        taken[hits[:, place], best[hits[:, place]]] = True
    return hits


def _area(hits: Bools, total: int) -> float:
    """Return the mean precision at COCO's recalls: the best that is reached at such a recall or a higher one."""
    right = hits.cumsum()
    precision = right / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(right / total, RECALLS)].mean())
