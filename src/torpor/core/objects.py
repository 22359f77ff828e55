"""Objects in an image: what a detector found, what a tracker follows, or the ground truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError

SAME = 0.5
"""Boxes of one class that overlap by this much show the same object."""
UNTRACKED = -1
"""The number of an object that no track follows."""


@dataclass(frozen=True, eq=False)
class Objects:
    """Boxes of one image, with their classes; scores if they were found, numbers if they are followed.

    Attributes:
        boxes: float32 ``[K, 4]``: left, top, right, bottom, in pixels.
        labels: classes, int64 ``[K]``.
        scores: float32 ``[K]``, falling; None in ground truth.
        ids: int64 ``[K]``: an object has the same number in every frame, :data:`UNTRACKED` where it has none; None
            outside videos.

    >>> cat = Objects(torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([1]))
    >>> len(cat), cat.columns()["boxes"]
    (1, [[0.0, 0.0, 4.0, 2.0]])
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor | None = None
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        if tuple(self.boxes.shape) != (count, 4):
            raise UsageError(f"expected a box of 4 numbers for each of {count} labels, got {list(self.boxes.shape)}")
        for name, values in (("score", self.scores), ("id", self.ids)):
            if values is not None and tuple(values.shape) != (count,):
                raise UsageError(f"expected one {name} for each of {count} objects, got {list(values.shape)}")

    def __len__(self) -> int:
        return len(self.labels)

    def followed(self) -> Objects:
        """Return the objects that a track follows; all of them outside of videos.

        >>> boxes, labels = torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)
        >>> len(Objects(boxes, labels).followed()), len(Objects(boxes, labels, ids=torch.tensor([-1, 3])).followed())
        (2, 1)
        """
        if self.ids is None:
            return self
        rows = self.ids != UNTRACKED
        return Objects(
            self.boxes[rows], self.labels[rows], None if self.scores is None else self.scores[rows], self.ids[rows]
        )

    def columns(self) -> dict[str, list[Any]]:
        """Return everything as lists, for JSON; boxes to a hundredth of a pixel, scores to a millionth."""
        columns = {"boxes": [[round(x, 2) for x in box] for box in self.boxes.tolist()], "labels": self.labels.tolist()}
        if self.scores is not None:
            columns["scores"] = [round(score, 6) for score in self.scores.tolist()]
        if self.ids is not None:
            columns["ids"] = self.ids.tolist()
        return columns

    @staticmethod
    def of_columns(columns: Mapping[str, list[Any]]) -> Objects:
        """Return the objects whose :meth:`columns` these are."""
        scores, ids = columns.get("scores"), columns.get("ids")
        return Objects(
            torch.tensor(columns["boxes"], dtype=torch.float32).view(-1, 4),
            torch.tensor(columns["labels"], dtype=torch.int64),
            None if scores is None else torch.tensor(scores, dtype=torch.float32),
            None if ids is None else torch.tensor(ids, dtype=torch.int64),
        )


Frames = tuple[Objects, ...]
"""The objects of each frame of one video."""


def frames_of(found: Objects | Frames) -> Frames:
    """Return the objects of each frame; an image is one frame."""
    return (found,) if isinstance(found, Objects) else found


def to_json(found: Objects | Frames) -> str:
    """Return the objects of an image or a video as text, for records."""
    if isinstance(found, Objects):
        return json.dumps(found.columns(), separators=(",", ":"))
    return json.dumps([frame.columns() for frame in found], separators=(",", ":"))


def from_json(text: str) -> Objects | Frames:
    """Return what :func:`to_json` wrote.

    >>> nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    >>> len(from_json(to_json(nothing))), len(from_json(to_json((nothing, nothing))))
    (0, 2)
    """
    found = json.loads(text)
    if isinstance(found, list):
        return tuple(Objects.of_columns(frame) for frame in found)
    return Objects.of_columns(found)


def box_iou(one: Tensor, other: Tensor) -> Tensor:
    """Return the intersection over union of every box ``[N, 4]`` with every other one ``[M, 4]``: ``[N, M]``.

    Two boxes without area have 0 / 0, which is NaN, and exceeds no threshold.

    >>> box_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])).tolist()
    [[0.3333333432674408]]
    """
    corner = torch.minimum(one[:, None, 2:], other[None, :, 2:]) - torch.maximum(one[:, None, :2], other[None, :, :2])
    width, height = corner.clamp_min(0).unbind(-1)
    inside = width * height
    return inside / (box_area(one)[:, None] + box_area(other)[None] - inside)


def box_area(boxes: Tensor) -> Tensor:
    """Return the area of boxes ``[..., 4]``, in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def still_found(found: Objects, known: Objects) -> Tensor:
    """Tell which of the ``known`` objects are found, with their class, bool ``[K]``.

    >>> one = Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1]))
    >>> still_found(one, one).tolist(), still_found(Objects(one.boxes, one.labels + 1), one).tolist()
    ([True], [False])
    """
    same = (box_iou(known.boxes, found.boxes) >= SAME) & (known.labels[:, None] == found.labels)
    return same.any(1)


def clean_recall(found: Sequence[Objects], known: Sequence[Objects]) -> float:
    """Return the share of ``known`` objects, over all images, that are still found; NaN if there are none.

    >>> nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    >>> clean_recall([nothing, nothing], [nothing, nothing])
    nan
    """
    kept = [still_found(*pair) for pair in zip(found, known, strict=True)]
    return torch.cat(kept).to(torch.float64).mean().item()
