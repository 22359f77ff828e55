"""Judge the zoo's networks on an accelerator that skips zeros, which have nothing to learn."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from torpor.training.classifiers import judged
from torpor.training.loop import LoopRecipe, Progress
from torpor.training.trainer import Trainer
from torpor.zoo.entry import save_card
from torpor.zoo.sparse import SparseEntry


@dataclass(frozen=True)
class SparseTrainer(Trainer):
    """Writes the card of a network that runs the weights of another one; it trains nothing.

    Double precision is slow, so that the first :attr:`limit` images of each split are judged.
    """

    entry: SparseEntry
    recipe: LoopRecipe = field(default=LoopRecipe(epochs=0))

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; the card tells accuracy and cost on validation and test data."""
        data, target = self.entry.data(data_dir), self.entry.open()
        card = {
            "name": self.entry.name,
            "weights": self.entry.base.name,
            "parameters": sum(value.numel() for value in target.network.parameters()),
            "data": data.name,
            "judged": self.limit,
            **{split: judged(target, data, split, self.limit) for split in ("test", "validation")},
            "recipe": asdict(self.recipe),
            "torch": torch.__version__,
        }
        return save_card(folder / f"{self.entry.name}.json", card)
