"""The zoo's captioners by name: architecture, recipe, and where the weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torpor.core.errors import UsageError
from torpor.data.scenes import WORDS, Scenes
from torpor.data.sets import DataSet
from torpor.targets.captioner import CaptionerTarget
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.captioning.captioner import Captioner, captioner_gru, captioner_lstm
from torpor.zoo.captioning.vocabulary import Vocabulary
from torpor.zoo.entry import Entry, Progress
from torpor.zoo.recipes.captioning import PICTURE, CaptionRecipe, save_captioner, train_captioner
from torpor.zoo.recipes.crafting import BatchAttack, unattacked
from torpor.zoo.storage import load_half


@dataclass(frozen=True)
class CaptionEntry(Entry):
    """A captioner of generated scenes that torpor can build and train.

    Attributes:
        build: builds the untrained captioner for a vocabulary.
        data: makes the data set.
        recipe: how the weights are trained.
    """

    build: Callable[[Vocabulary], Captioner]
    data: Callable[[], DataSet]
    recipe: CaptionRecipe = field(kw_only=True)

    def start(self, vocabulary: Vocabulary) -> Captioner:
        """Build the captioner that training starts from."""
        return self.build(vocabulary)

    def attack(self) -> BatchAttack[Captioner]:
        """Return what changes each batch before it is learned from."""
        return unattacked

    def load(self, folder: Path | None = None) -> CaptionerTarget:
        """See :meth:`Entry.load`; batch norm is folded into convolutions."""
        words = self.card(folder).get("vocabulary")
        if not isinstance(words, list):
            raise UsageError(f"expected a vocabulary in the card of {self.name}, got {words!r}; train it again")
        path = (folder or self.folder()) / f"{self.name}.safetensors"
        module = load_half(self.build(Vocabulary(tuple(words))), path, self.name)
        module.encoder = fold_batch_norm(module.encoder)
        return CaptionerTarget(module, input_shape=PICTURE, name=self.name, data=lambda folder: self.data())

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Entry.fit`; the data are generated, so ``data_dir`` is not read."""
        data, checkpoint = self.data(), folder / f"{self.name}.checkpoint.safetensors"
        words, samples = Vocabulary.of(WORDS), data.load("train")
        model, seconds = train_captioner(
            self.start,
            words,
            samples,
            self.recipe,
            checkpoint,
            attack=self.attack(),
            device=device,
            progress=progress,
        )
        return save_captioner(self.name, model, data, self.recipe, folder, seconds)


def _scenes() -> DataSet:
    return Scenes(train=40_000)


CAPTIONERS: dict[str, CaptionEntry] = {
    entry.name: entry
    for entry in (
        CaptionEntry("captioner-scenes-gru", captioner_gru, _scenes, recipe=CaptionRecipe(epochs=6, autocast=False)),
        CaptionEntry("captioner-scenes-lstm", captioner_lstm, _scenes, recipe=CaptionRecipe(epochs=9)),
    )
}
