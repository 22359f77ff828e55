"""The contract of targets that hand on as many outputs as they find: detectors, and the pipelines behind them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torpor.core.objects import Objects, box_iou
from torpor.core.signals import CandidateSignals
from torpor.targets.base import Target
from torpor.targets.candidate_family import CandidateFamily
from torpor.targets.nms import NMS

CANDIDATE = "candidate"
"""Name of the unit that runs once for each box above the confidence threshold."""
PAIR = "nms_pair"
"""Name of the unit that runs once for each pair of boxes that non-maximum suppression compares."""
SAME = 0.5
"""Boxes of one class that overlap by this much show the same object."""


class CandidateTarget(Target):
    """A target whose work grows with the number of boxes that it finds in a picture or in the frames of a video.

    Attributes:
        classes: names of the classes.
        nms: thresholds and caps of the deployment.
        bars: whether pictures of other proportions come between gray bars; else they are stretched.
    """

    family = CandidateFamily()
    classes: tuple[str, ...]
    nms: NMS
    bars: bool = True

    @property
    @abstractmethod
    def detector(self) -> CandidateTarget:
        """The part that looks at one picture at a time; a detector's own is itself."""

    @abstractmethod
    def signals(self, inputs: Tensor) -> CandidateSignals:
        """Return every box that is proposed, differentiably; frames of videos are pictures of their own."""

    def details(self) -> dict[str, Any]:
        """Return the caps and thresholds; see :meth:`Target.details`."""
        return {"nms": {name: getattr(self.nms, name) for name in self.nms.__dataclass_fields__}}


def still_found(found: Objects, known: Objects) -> Tensor:
    """Tell which of the ``known`` objects are found, with their class, bool ``[K]``.

    >>> one = Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1]))
    >>> still_found(one, one).tolist(), still_found(Objects(one.boxes, one.labels + 1), one).tolist()
    ([True], [False])
    """
    same = (box_iou(known.boxes, found.boxes) >= SAME) & (known.labels[:, None] == found.labels)
    return same.any(1)


def clean_recall(found: Sequence[Objects], known: Sequence[Objects]) -> float:
    """Return the share of ``known`` objects, over all pictures, that are still found; NaN if there are none.

    >>> nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    >>> clean_recall([nothing, nothing], [nothing, nothing])
    nan
    """
    kept = [still_found(*pair) for pair in zip(found, known, strict=True)]
    return torch.cat(kept).to(torch.float64).mean().item()
