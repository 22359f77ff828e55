"""The zoo's speech recognizers by name: architecture, data, recipe, and where the weights are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torpor.core.errors import DataError
from torpor.data.speech import SpokenDigits
from torpor.targets.generation import GenerationTarget, load_pretrained
from torpor.zoo.entry import Entry, Progress
from torpor.zoo.recipes.speech import Builder, SpeechRecipe, train_speech
from torpor.zoo.speech.architectures import recognizer


@dataclass(frozen=True)
class SpeechEntry(Entry):
    """A recognizer of spoken digits that torpor can build and train.

    Attributes:
        build: makes the untrained model from its tokenizer and a dropout rate; cap and decoding are the deployed ones.
        recipe: how the weights were trained.
    """

    build: Builder
    recipe: SpeechRecipe = field(kw_only=True)

    def data(self, folder: Path | None) -> SpokenDigits:
        """Find the recordings in the user's ``--data-dir`` or in its subfolder ``fsdd``.

        Raises:
            DataError: if no folder is given.
        """
        if folder is None:
            raise DataError(
                "expected the Free Spoken Digit Dataset (train and test.parquet), got no folder; pass --data-dir"
            )
        nested = folder / "fsdd"
        return SpokenDigits(nested if nested.is_dir() else folder)

    def load(self, folder: Path | None = None) -> GenerationTarget:
        """See :meth:`Entry.load`."""
        self.card(folder)
        return load_pretrained(str((folder or self.folder()) / self.name), data=self.data)

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Entry.fit`."""
        return train_speech(self, self.data(data_dir), folder, device=device, progress=progress)


SPEECH: dict[str, SpeechEntry] = {
    entry.name: entry
    for entry in (
        SpeechEntry("speech-digits", recognizer, recipe=SpeechRecipe(epochs=40, learning_rate=2e-3, label_smoothing=0)),
    )
}
