"""Choose the other users' texts of a batch: nothing is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from torpor.core.errors import DataError
from torpor.targets.experts.batch import ExpertBatchTarget
from torpor.training.loop import LoopRecipe, Progress
from torpor.training.trainer import Trainer
from torpor.zoo.entry import save_card
from torpor.zoo.language.expert_batch import ExpertBatchEntry


@dataclass(frozen=True)
class ExpertBatchTrainer(Trainer):
    """Writes the card of a batch, with the first passages of the validation split as neighbors."""

    entry: ExpertBatchEntry
    recipe: LoopRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        entry, data = self.entry, self.entry.data(data_dir)
        neighbors = list(data.load("validation", entry.others).inputs)
        if len(neighbors) < entry.others:
            raise DataError(f"expected {entry.others} validation passages for a batch, got {len(neighbors)}")
        target = entry.open(neighbors)
        card = {
            "name": entry.name,
            "weights": entry.base.name,
            "parameters": sum(value.numel() for value in target.module.parameters()),
            "data": data.fingerprint(),
            "capacity": entry.capacity,
            "neighbors": neighbors,
            "test": judged_batch(target, data.load("test", self.limit).inputs),
            "recipe": asdict(self.recipe),
            "torch": torch.__version__,
        }
        return save_card(folder / f"{entry.name}.json", card)


def judged_batch(target: ExpertBatchTarget, texts: tuple[str, ...]) -> dict[str, Any]:
    """Return what clean inputs take from their neighbors."""
    hit = target.hit(target.run(texts).work)
    drops, changes = hit["neighbor_drops"].double(), hit["neighbor_changes"].double()
    return {
        "samples": len(texts),
        "neighbor_assignments": target.neighbors_assigned,
        "neighbor_drops_mean": round(drops.mean().item(), 2),
        "neighbor_drops_max": int(drops.max()),
        "neighbor_changes_mean": round(changes.mean().item(), 3),
    }
