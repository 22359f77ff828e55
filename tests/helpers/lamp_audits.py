"""A toy detector of bright cells, and a tracker that it feeds, with data of known ground truth."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from torpor.core.objects import Frames, Objects
from torpor.data.sets import DataSet
from torpor.targets.detector.toy_boxes import LampTarget, lit
from torpor.targets.detector.track_work import ByteTrack
from torpor.targets.detector.tracking import TrackerTarget

LAMPS, FOLLOWED = "lamp_audits:lamps", "lamp_audits:followed"
FRAMES = 5


class LitCells(DataSet):
    """Images of which the first cells are bright: none, one, two, ..."""

    name = "lit cells"

    def samples(self, split: str) -> Iterator[tuple[Tensor, Objects]]:
        """Yield ``(image uint8 [1, 16, 24], ground truth)``."""
        for count in range(6):
            image, objects = lit(count)
            yield (image[0] * 255).round().to(torch.uint8), objects


class LitVideos(DataSet):
    """Videos that do not change."""

    name = "lit videos"

    def samples(self, split: str) -> Iterator[tuple[Tensor, Frames]]:
        """Yield ``(video uint8 [FRAMES, 1, 16, 24], ground truth of each frame)``."""
        for image, objects in LitCells().samples(split):
            numbered = Objects(objects.boxes, objects.labels, ids=torch.arange(len(objects)))
            yield image.expand(FRAMES, -1, -1, -1).contiguous(), (numbered,) * FRAMES


class Lamps(LampTarget):
    """The detector with data of its own."""

    def data(self, folder: object) -> DataSet:
        """Return the images."""
        return LitCells()


def lamps() -> LampTarget:
    """Build the detector."""
    return Lamps()


def followed() -> TrackerTarget:
    """Build the tracker."""
    settings = ByteTrack(activation=0.2, high=0.2)  # lamps are dim
    return TrackerTarget(LampTarget(), settings, frames=FRAMES, name="toy-followed", data=lambda folder: LitVideos())
