"""Train a multi-exit network: all exits at once, resumable, the same weights for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.data.sets import Batch
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.training.classifiers import ClassifierRecipe, Losses, train_classifier
from torpor.training.crafting import BatchAttack, unattacked
from torpor.training.early_exit_card import save_model
from torpor.training.loop import Progress, decayed, silent
from torpor.training.trainer import Trainer
from torpor.zoo.early_exits import EarlyExitEntry


@dataclass(frozen=True, kw_only=True)
class Recipe(ClassifierRecipe):
    """How a network is trained: SGD with Nesterov momentum for the backbone, Adam for the heads; bfloat16 autocast.

    Attributes:
        head_learning_rate: peak for the internal classifiers (Adam).
        supervision: share of the internal classifiers' gradient that reaches the backbone.
    """

    head_learning_rate: float = 2e-3
    supervision: float = 0.1


def losses(
    model: ShallowDeepNetwork, batch: Tensor, labels: Tensor, recipe: Recipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the loss to descend and, for show, the last exit's own."""
    return label_losses(exit_logits(model, batch, recipe), labels, recipe)


def exit_logits(model: ShallowDeepNetwork, batch: Tensor, recipe: Recipe) -> list[Tensor]:
    """Return the logits ``[B, C]`` of every exit; only a share of an internal one's gradient reaches the backbone."""
    exits, found = len(model.heads), []
    with torch.autocast(batch.device.type, torch.bfloat16):
        features = batch
        for k, (stage, head) in enumerate(zip(model.stages, model.heads, strict=True)):
            features = stage(features)
            share = 1 if k == exits - 1 else recipe.supervision * (k + 1) / exits
            found.append(head(features if share == 1 else features.detach() * (1 - share) + features * share).float())
    return found


def label_losses(logits: Sequence[Tensor], labels: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of all exits' logits ``[B, C]``, and the last one's; only that is smoothed."""
    final = F.cross_entropy(logits[-1], labels, label_smoothing=recipe.label_smoothing)
    internal = torch.zeros((), device=labels.device)
    for each in logits[:-1]:
        internal = internal + F.cross_entropy(each, labels)
    return final + internal, final


def train(
    build: Callable[[], ShallowDeepNetwork],
    data: Batch,
    recipe: Recipe,
    checkpoint: Path,
    *,
    attack: BatchAttack[ShallowDeepNetwork] = unattacked,
    descended: Losses[ShallowDeepNetwork, Any] = losses,
    device: str = "cpu",
    progress: Progress = silent,
) -> ShallowDeepNetwork:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    The internal classifiers learn from the backbone's features (Kaya et al., ICML 2019, "IC-only"), and a small share
    of their gradient, weighted by depth, supervises the backbone. The checkpoint is replaced after every epoch.
    ``attack`` changes each batch before it is learned from, and ``descended`` is the loss.

    Returns:
        The trained network on ``device``, in evaluation mode.

    Raises:
        UsageError: if there are fewer samples than a batch holds, or the checkpoint is damaged or of another recipe
            that is not finished.
    """
    return train_classifier(
        build, data, recipe, checkpoint, descended, _optimizers, attack=attack, device=device, progress=progress
    )


def _optimizers(model: ShallowDeepNetwork, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return SGD for the backbone, whose last head is part of it, and Adam for the internal classifiers."""
    backbone = [*model.stages.parameters(), *model.heads[-1].parameters()]
    heads = [p for head in list(model.heads)[:-1] for p in head.parameters()]
    return [
        torch.optim.SGD(decayed(backbone, recipe.weight_decay), lr=recipe.learning_rate, momentum=0.9, nesterov=True),
        torch.optim.Adam(heads, lr=recipe.head_learning_rate),
    ]


@dataclass(frozen=True)
class EarlyExitTrainer(Trainer):
    """Trains a multi-exit network of the zoo."""

    entry: EarlyExitEntry
    recipe: Recipe

    def start(self) -> ShallowDeepNetwork:
        """Build the network that training starts from."""
        return self.entry.build()

    def attack(self) -> BatchAttack[ShallowDeepNetwork]:
        """Return what changes each batch before it is learned from."""
        return unattacked

    def losses(self) -> Losses[ShallowDeepNetwork, Any]:
        """Return what is descended."""
        return losses

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; thresholds are chosen on validation data, never on test data."""
        data = self.entry.data(data_dir)
        model = train(
            self.start,
            data.load("train"),
            self.recipe,
            self.checkpoint(folder),
            attack=self.attack(),
            descended=self.losses(),
            device=device,
            progress=progress,
        )
        return save_model(self.entry, model, data, self.recipe, folder)
