"""Choose the thresholds of outlier columns on validation images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from torpor.data.images import to_unit
from torpor.targets.mixed_precision.linear import thresholds_of
from torpor.training.classifiers import judged
from torpor.training.loop import LoopRecipe, Progress
from torpor.training.trainer import Trainer
from torpor.zoo.entry import save_card
from torpor.zoo.mixed_precision import MixedPrecisionEntry


@dataclass(frozen=True, kw_only=True)
class ThresholdRecipe(LoopRecipe):
    """How thresholds are chosen; nothing is trained.

    Attributes:
        share: of a layer's columns that are outliers on clean images.
        images: of the validation split.
    """

    epochs: int = 0
    share: float = 0.02
    images: int = 100


@dataclass(frozen=True)
class ThresholdTrainer(Trainer):
    """Writes the card of a network in 8 bits that runs the weights of another one.

    Double precision is slow, so that the first :attr:`limit` images of each split are judged.
    """

    entry: MixedPrecisionEntry
    recipe: ThresholdRecipe

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; thresholds are chosen on validation data, never on test data."""
        data, network = self.entry.data(data_dir), self.entry.network().double()
        images = to_unit(data.load("validation", self.recipe.images).inputs).double()
        thresholds = thresholds_of(network, images, self.recipe.share)
        target = self.entry.open(thresholds)
        card = {
            "name": self.entry.name,
            "weights": self.entry.base.name,
            "parameters": sum(value.numel() for value in network.parameters()),
            "data": data.name,
            "thresholds": thresholds,
            "judged": self.limit,
            **{split: judged(target, data, split, self.limit) for split in ("test", "validation")},
            "recipe": asdict(self.recipe),
            "torch": torch.__version__,
        }
        return save_card(folder / f"{self.entry.name}.json", card)
