"""What every target of the zoo can do: load, train, and show its card."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torpor.attacks.base import Attack
from torpor.core.errors import UsageError
from torpor.targets.base import Target
from torpor.zoo.recipes.residual import add_residual

SHIPPED = Path(__file__).parent / "weights"

Progress = Callable[[int, int, float], None]
"""Is told the training steps done, the steps in all, and the loss."""


def silent(done: int, total: int, loss: float) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Entry(ABC):
    """A target that torpor can build and train.

    Attributes:
        name: on the command line.
        recipe: how the weights are trained: a dataclass with ``epochs`` and ``seed``.
        judges: attacks whose residual effect the card reports.
        limit: test samples that these attack.
    """

    name: str
    recipe: Any = field(kw_only=True)
    judges: tuple[Attack, ...] = field(default=(), kw_only=True)
    limit: int = field(default=500, kw_only=True)

    @abstractmethod
    def load(self, folder: Path | None = None) -> Target:
        """Load the trained target from ``folder``, by default the package's or the user's cache.

        Raises:
            UsageError: if the weights are missing or do not fit.
        """

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
        """Train, or go on where an interrupted run stopped; write weights and card to ``folder``.

        Training starts from scratch, that of a hardened network from the weights of its base.

        Args:
            data_dir: what the user gave as ``--data-dir``.
            folder: for weights, card and checkpoint.
            device: where to train.
            epochs: passes over the data; the recipe's if None.
            seed: of all randomness.
            progress: see :data:`Progress`.

        Returns:
            The path of the card.

        Raises:
            UsageError: if the data or the checkpoint cannot be used.
        """
        recipe = replace(self.recipe, seed=seed, epochs=epochs or self.recipe.epochs)
        path = replace(self, recipe=recipe).fit(data_dir, folder, device, progress)
        if self.judges:
            add_residual(path, self.load(folder), data_dir, self.judges, self.limit)
        return path

    @abstractmethod
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """Train as the recipe says; see :meth:`train`."""

    def download(self) -> Path:
        """Fetch the data from the hub unless they are there, and return their folder.

        Raises:
            UsageError: if torpor does not know where they are.
        """
        raise UsageError(f"expected a target whose data torpor can fetch, got {self.name}; leave --download out")

    @property
    def ships(self) -> bool:
        """Whether the weights come with the package."""
        return (SHIPPED / f"{self.name}.json").is_file()

    def folder(self) -> Path:
        """Return where the weights and the card are, or will be."""
        return SHIPPED if self.ships else cache_folder()

    def card(self, folder: Path | None = None) -> dict[str, Any]:
        """Read the model card.

        Raises:
            UsageError: if the target is not trained yet.
        """
        path = (folder or self.folder()) / f"{self.name}.json"
        if not path.is_file():
            raise UsageError(f"expected trained weights of {self.name}, got none; run: torpor zoo train {self.name}")
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise UsageError(f"expected a model card in {path}, got: {error}; train {self.name} again") from error


def cache_folder() -> Path:
    """Return the user's cache folder for trained weights (``TORPOR_CACHE``, else the XDG cache folder)."""
    own = os.environ.get("TORPOR_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torpor"
