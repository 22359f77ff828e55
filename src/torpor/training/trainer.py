"""What the trainer of every target of the zoo can do: train it, or resume an interrupted training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path

from torpor.attacks.base import Attack
from torpor.training.loop import LoopRecipe, Progress, silent
from torpor.training.residual import add_residual
from torpor.zoo.entry import ZooEntry


@dataclass(frozen=True)
class Trainer(ABC):
    """Trains one target of the zoo.

    Attributes:
        entry: what is trained.
        recipe: how its weights are trained.
        judges: attacks whose residual effect the card reports.
        limit: test samples that these attack.
    """

    entry: ZooEntry
    recipe: LoopRecipe
    judges: tuple[Attack, ...] = field(default=(), kw_only=True)
    limit: int = field(default=500, kw_only=True)

    def train(
        self,
        data_dir: Path | None,
        folder: Path,
        *,
        device: str = "cpu",
        epochs: int | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Path:
        """Train, or resume an interrupted run; write weights and card to ``folder``.

        Training starts from scratch, that of a hardened network from the weights of its base.

        Args:
            data_dir: what the user gave as ``--data-dir``.
            folder: for weights, card and checkpoint.
            device: where to train.
            epochs: passes over the data; the recipe's if None.
            seed: of all randomness.
            progress: see :data:`~torpor.training.loop.Progress`.

        Returns:
            The path of the card.

        Raises:
            UsageError: if the data or the checkpoint cannot be used.
        """
        path = replace(self, recipe=self.recipe.within(epochs, seed)).fit(data_dir, folder, device, progress)
        if self.judges:
            add_residual(path, self.entry.load(folder), data_dir, self.judges, self.limit)
        return path

    @abstractmethod
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """Train by the recipe; see :meth:`train`."""

    def checkpoint(self, folder: Path) -> Path:
        """Return where in ``folder`` the state of an interrupted training is."""
        return folder / f"{self.entry.name}.checkpoint.safetensors"
