"""The zoo's captioners by name: architecture, data, recipe, and where the weights are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from torpor.core.errors import UsageError
from torpor.data.scenes import WORDS, Scenes
from torpor.data.sets import DataSet
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.captioning.captioner import Captioner, captioner_gru, captioner_lstm
from torpor.zoo.captioning.vocabulary import Vocabulary
from torpor.zoo.recipes.captioning import CaptionRecipe, save_captioner, train_captioner
from torpor.zoo.recipes.training import Progress
from torpor.zoo.registry import SHIPPED, cache_folder


@dataclass(frozen=True)
class CaptionEntry:
    """A captioner that torpor can build and train.

    Attributes:
        name: on the command line.
        builder: builds the untrained captioner for a vocabulary.
        data: makes the data set.
        words: texts that hold every word it can say.
        recipe: how the weights are trained.
    """

    name: str
    builder: Callable[[Vocabulary], Captioner]
    data: Callable[[], DataSet]
    words: tuple[str, ...]
    recipe: CaptionRecipe

    def folder(self) -> Path:
        """Return where the weights and the card are, or will be: with the package, else in the user's cache."""
        return SHIPPED if (SHIPPED / f"{self.name}.json").is_file() else cache_folder()

    def card(self, folder: Path | None = None) -> dict[str, Any]:
        """Read the model card.

        Raises:
            UsageError: if the captioner is not trained yet.
        """
        path = (folder or self.folder()) / f"{self.name}.json"
        if not path.is_file():
            raise UsageError(f"expected trained weights of {self.name}, got none in {path.parent}; train it first")
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise UsageError(f"expected a model card in {path}, got: {error}; train {self.name} again") from error

    def load_module(self, folder: Path | None = None) -> Captioner:
        """Load the trained captioner with its vocabulary, in evaluation mode and with batch norm folded.

        Args:
            folder: holds the weights and the card; the package's or the user's cache folder if None.

        Raises:
            UsageError: if the weights are missing or do not fit.
        """
        words = self.card(folder).get("vocabulary")
        if not isinstance(words, list):
            raise UsageError(f"expected a vocabulary in the card of {self.name}, got {words!r}; train it again")
        module = self.builder(Vocabulary(tuple(words))).eval()
        path = (folder or self.folder()) / f"{self.name}.safetensors"
        try:
            module.load_state_dict({name: value.to(torch.float32) for name, value in load_file(path).items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UsageError(
                f"expected weights of {self.name} in {path}, got a file that does not fit: {error}; train it again"
            ) from error
        module.encoder = fold_batch_norm(module.encoder)
        return module.requires_grad_(False)

    def train(self, folder: Path, *, device: str = "cpu", progress: Progress = lambda done, total, loss: None) -> Path:
        """Train from scratch, or go on where an interrupted run stopped; write weights and card to ``folder``.

        Returns:
            The path of the card.
        """
        data = self.data()
        model, seconds = train_captioner(
            self.builder,
            Vocabulary.of(self.words),
            data.load("train"),
            self.recipe,
            folder / f"{self.name}.checkpoint.safetensors",
            device=device,
            progress=progress,
        )
        return save_captioner(self.name, model, data, self.recipe, folder, seconds)


def _scenes() -> DataSet:
    return Scenes(train=40_000)


CAPTION_ZOO: dict[str, CaptionEntry] = {
    entry.name: entry
    for entry in (
        CaptionEntry("captioner-scenes-gru", captioner_gru, _scenes, WORDS, CaptionRecipe(epochs=6, autocast=False)),
        CaptionEntry("captioner-scenes-lstm", captioner_lstm, _scenes, WORDS, CaptionRecipe(epochs=9)),
    )
}
