"""Train the classifier of a tracker's boxes; its detector is taken as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torpor.training.card import write_card
from torpor.training.detection import DetectionRecipe, crop_loss, train
from torpor.training.detectors import judge_tracker
from torpor.training.loop import Progress
from torpor.training.trainer import Trainer
from torpor.zoo.entry import save_half
from torpor.zoo.tracking.registry import TrackerEntry


@dataclass(frozen=True)
class TrackerTrainer(Trainer):
    """Trains the classifier of a tracker of the zoo."""

    entry: TrackerEntry
    recipe: DetectionRecipe

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; without ``data_dir`` the classifier learns digits only."""
        entry, recipe = self.entry, self.recipe
        scenes, checkpoint = entry.detector.data(data_dir), self.checkpoint(folder)
        model, seconds = train(entry.build, crop_loss, scenes, recipe, checkpoint, device=device, progress=progress)
        save_half(model, folder / f"{entry.name}.safetensors")
        write_card(entry.name, model, scenes, {}, recipe, folder, seconds)
        target, digits = entry.load(folder), entry.data(None)
        scores = {split: judge_tracker(target, digits, split) for split in ("test", "validation")}
        if data_dir is not None:
            scores["test with cifar10"] = judge_tracker(target, entry.data(data_dir), "test")
        return write_card(entry.name, model, scenes, scores, recipe, folder, seconds)
