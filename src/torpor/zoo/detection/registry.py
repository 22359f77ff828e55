"""The zoo's detectors by name: network, data, and where the weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from torpor.data.cifar10 import cifar10
from torpor.data.object_scenes import ObjectScenes
from torpor.data.sprite_sets import HEIGHT, WIDTH
from torpor.data.sprites import CLASSES
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.detection.network import PyramidDetector
from torpor.zoo.entry import ZooEntry, load_half

IMAGE_SHAPE = (3, HEIGHT, WIDTH)


@dataclass(frozen=True)
class DetectorEntry(ZooEntry):
    """A detector of digits and CIFAR-10 objects in generated scenes."""

    def build(self) -> PyramidDetector:
        """Build the untrained network."""
        return PyramidDetector(len(CLASSES))

    def load(self, folder: Path | None = None) -> DetectorTarget:
        """See :meth:`ZooEntry.load`; batch norm is folded into convolutions."""
        network = self.network(folder)
        return DetectorTarget(network, input_shape=IMAGE_SHAPE, classes=CLASSES, name=self.name, data=self.data)

    def network(self, folder: Path | None = None) -> PyramidDetector:
        """Load the trained network; see :meth:`ZooEntry.load`."""
        self.card(folder)
        network = load_half(self.build(), (folder or self.folder()) / f"{self.name}.safetensors", self.name)
        network.pyramid = fold_batch_norm(network.pyramid)
        network.heads = nn.ModuleList(fold_batch_norm(head) for head in network.heads)
        return network

    def data(self, folder: Path | None) -> ObjectScenes:
        """Make scenes of digits and, if there is a ``folder`` with CIFAR-10, of its objects."""
        return ObjectScenes(None if folder is None else cifar10(folder))


DETECTORS: dict[str, DetectorEntry] = {entry.name: entry for entry in (DetectorEntry("detector-scenes"),)}
