"""The zoo's speech recognizers by name: architecture, data, and where the weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from torpor.data.speech import SpokenDigits, spoken_digits
from torpor.targets.decoder.generation import GenerationTarget, load_pretrained
from torpor.zoo.entry import ZooEntry
from torpor.zoo.speech.architectures import Builder, recognizer


@dataclass(frozen=True)
class SpeechEntry(ZooEntry):
    """A recognizer of spoken digits that torpor can build and train.

    Attributes:
        build: makes the untrained model from its tokenizer and a dropout rate; cap and decoding are the deployed ones.
    """

    build: Builder

    def data(self, folder: Path | None) -> SpokenDigits:
        """Find the recordings; see :func:`torpor.data.speech.spoken_digits`."""
        return spoken_digits(folder)

    @override
    def load(self, folder: Path | None = None) -> GenerationTarget:
        self.card(folder)
        return load_pretrained(str((folder or self.folder()) / self.name), data=self.data)


SPEECH: dict[str, SpeechEntry] = {entry.name: entry for entry in (SpeechEntry("speech-digits", recognizer),)}
