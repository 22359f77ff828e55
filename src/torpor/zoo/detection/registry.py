"""The zoo's detectors by name: network, recipe, data, and where the weights are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from torpor.data.cifar10 import cifar10
from torpor.data.object_scenes import ObjectScenes
from torpor.data.sprite_sets import HEIGHT, WIDTH
from torpor.data.sprites import CLASSES
from torpor.targets.detection import DetectorTarget
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.detection.network import Detector
from torpor.zoo.entry import Entry, Progress
from torpor.zoo.recipes.card import write_card
from torpor.zoo.recipes.crafting import BatchAttack, unattacked
from torpor.zoo.recipes.detection import DetectionRecipe, box_loss, train
from torpor.zoo.recipes.detectors import judge
from torpor.zoo.storage import load_half, save_half

PICTURE = (3, HEIGHT, WIDTH)


@dataclass(frozen=True)
class DetectorEntry(Entry):
    """A detector of digits and CIFAR-10 objects in generated scenes that torpor can build and train.

    Attributes:
        recipe: how the weights are trained.
    """

    recipe: DetectionRecipe = field(kw_only=True)

    def build(self) -> Detector:
        """Build the untrained network."""
        return Detector(len(CLASSES))

    def start(self) -> Detector:
        """Build the network that training starts from."""
        return self.build()

    def attack(self) -> BatchAttack[Detector]:
        """Return what changes each batch before it is learned from."""
        return unattacked

    def load(self, folder: Path | None = None) -> DetectorTarget:
        """See :meth:`Entry.load`; batch norm is folded into convolutions."""
        network = self.network(folder)
        return DetectorTarget(network, input_shape=PICTURE, classes=CLASSES, name=self.name, data=self.data)

    def network(self, folder: Path | None = None) -> Detector:
        """Load the trained network; see :meth:`Entry.load`."""
        self.card(folder)
        network = load_half(self.build(), (folder or self.folder()) / f"{self.name}.safetensors", self.name)
        network.pyramid = fold_batch_norm(network.pyramid)
        network.heads = nn.ModuleList(fold_batch_norm(head) for head in network.heads)
        return network

    def data(self, folder: Path | None) -> ObjectScenes:
        """Make scenes of digits and, if there is a ``folder`` with CIFAR-10, of its objects."""
        return ObjectScenes(None if folder is None else cifar10(folder))

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Entry.fit`; without ``data_dir`` the detector learns digits only."""
        data, checkpoint = self.data(data_dir), folder / f"{self.name}.checkpoint.safetensors"
        model, seconds = train(
            self.start,
            box_loss,
            data,
            self.recipe,
            checkpoint,
            attack=self.attack(),
            device=device,
            progress=progress,
        )
        save_half(model, folder / f"{self.name}.safetensors")
        write_card(self.name, model, data, {}, self.recipe, folder, seconds)
        target, digits = self.load(folder), self.data(None)
        scores = {split: judge(target, digits, split) for split in ("test", "validation")}
        if data_dir is not None:
            scores["test with cifar10"] = judge(target, data, "test")
        return write_card(self.name, model, data, scores, self.recipe, folder, seconds)


DETECTORS: dict[str, DetectorEntry] = {
    entry.name: entry for entry in (DetectorEntry("detector-scenes", recipe=DetectionRecipe(epochs=16)),)
}
