"""The zoo's speech synthesizers by name: architecture, data, and where the weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from torpor.targets.decoder.synthesis import SynthesisTarget
from torpor.zoo.entry import ZooEntry, load_half
from torpor.zoo.speech.digit_strings import DigitStrings
from torpor.zoo.speech.synthesizer import Synthesizer


@dataclass(frozen=True)
class SynthesisEntry(ZooEntry):
    """A synthesizer of spoken digits that torpor can build and train."""

    def build(self) -> Synthesizer:
        """Build the untrained network."""
        return Synthesizer()

    def data(self, folder: Path | None) -> DigitStrings:
        """Return texts of digits; they need no folder."""
        return DigitStrings()

    @override
    def load(self, folder: Path | None = None) -> SynthesisTarget:
        self.card(folder)
        module = load_half(self.build(), (folder or self.folder()) / f"{self.name}.safetensors", self.name)
        return SynthesisTarget(module, name=self.name, data=self.data)


SYNTHESIS: dict[str, SynthesisEntry] = {entry.name: entry for entry in (SynthesisEntry("tts-digits"),)}
