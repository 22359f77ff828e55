"""The zoo's trackers by name: detector, classifier of its boxes, data, and where the weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from torpor.data.cifar10 import cifar10
from torpor.data.object_videos import LENGTH, ObjectVideos
from torpor.data.sprites import CLASSES
from torpor.targets.detector.detection import DetectorTarget, PerObject
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.track_work import ByteTrack
from torpor.targets.detector.tracking import TrackerTarget
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.detection.classifier import SIDE, classifier
from torpor.zoo.detection.registry import DETECTORS, IMAGE_SHAPE, DetectorEntry
from torpor.zoo.entry import ZooEntry, load_half

SUPPRESSION = NMS(conf=0.1, agnostic=True)
"""ByteTrack follows objects through frames where they score low, so the detector hands on more than it does alone; what
they are is for the classifier to say, so boxes suppress each other whatever the detector takes them for."""
TRACKING = ByteTrack(activation=0.5, high=0.5)
"""Chosen on validation videos, as are the thresholds above."""


@dataclass(frozen=True)
class TrackerEntry(ZooEntry):
    """A detector, a classifier that looks at each of its boxes again, and ByteTrack, on generated videos.

    Attributes:
        detector: whose trained network is used; it is not trained again.
    """

    detector: DetectorEntry

    def build(self) -> nn.Sequential:
        """Build the untrained classifier."""
        return classifier(len(CLASSES))

    def load(self, folder: Path | None = None) -> TrackerTarget:
        """See :meth:`ZooEntry.load`; batch norm is folded into convolutions."""
        self.card(folder)
        looks = load_half(self.build(), (folder or self.folder()) / f"{self.name}.safetensors", self.name)
        detector = DetectorTarget(
            self.detector.network(),
            input_shape=IMAGE_SHAPE,
            classes=CLASSES,
            nms=SUPPRESSION,
            per_object=PerObject(fold_batch_norm(looks), SIDE),
            name=f"{self.name}'s detector",
        )
        return TrackerTarget(detector, TRACKING, frames=LENGTH, name=self.name, data=self.data)

    def data(self, folder: Path | None) -> ObjectVideos:
        """Make videos of digits and, if there is a ``folder`` with CIFAR-10, of its objects."""
        return ObjectVideos(None if folder is None else cifar10(folder))


TRACKERS: dict[str, TrackerEntry] = {
    entry.name: entry for entry in (TrackerEntry("tracker-scenes", DETECTORS["detector-scenes"]),)
}
