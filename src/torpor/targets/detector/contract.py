"""The contract of targets that pass on as many outputs as they find: detectors, and the pipelines that they feed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

from torpor.core.renamed import Renamed
from torpor.core.signals import CandidateSignals
from torpor.targets.base import Target
from torpor.targets.detector.family import CandidateFamily
from torpor.targets.detector.nms import NMS

CANDIDATE = "candidate"
"""Name of the unit that runs once for each box above the confidence threshold."""
PAIR = "nms_pair"
"""Name of the unit that runs once for each pair of boxes that non-maximum suppression compares."""


class CandidateTarget(Target):
    """A target whose work grows with the number of boxes that it finds in an image or in the frames of a video.

    Attributes:
        classes: names of the classes.
        nms: thresholds and caps of the deployment.
        letterbox: whether images of other proportions are letterboxed with gray; else they are stretched.
    """

    family = CandidateFamily()
    classes: tuple[str, ...]
    nms: NMS
    letterbox: bool = True
    bars = Renamed("letterbox")

    @property
    @abstractmethod
    def detector(self) -> CandidateTarget:
        """The part that looks at one image at a time; a detector's own is itself."""

    @abstractmethod
    def signals(self, inputs: Tensor) -> CandidateSignals:
        """Return every box that is proposed, differentiably; frames of videos are images of their own."""

    def details(self) -> dict[str, Any]:
        """Return the caps and thresholds; see :meth:`Target.details`."""
        return {"nms": {name: getattr(self.nms, name) for name in self.nms.__dataclass_fields__}}
