"""The zoo's captioners by name: architecture, data, and where the weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torpor.core.errors import UsageError
from torpor.data.scenes import SIDE, Scenes
from torpor.data.sets import DataSet
from torpor.targets.decoder.captioner import CaptionerTarget
from torpor.targets.speed import fold_batch_norm
from torpor.zoo.captioning.captioner import Captioner, captioner_gru, captioner_lstm
from torpor.zoo.captioning.vocabulary import Vocabulary
from torpor.zoo.entry import ZooEntry, load_half

IMAGE_SHAPE = (3, SIDE, SIDE)


@dataclass(frozen=True)
class CaptionEntry(ZooEntry):
    """A captioner of generated scenes that torpor can build and train.

    Attributes:
        build: builds the untrained captioner for a vocabulary.
        data: makes the data set.
    """

    build: Callable[[Vocabulary], Captioner]
    data: Callable[[], DataSet]

    def load(self, folder: Path | None = None) -> CaptionerTarget:
        """See :meth:`ZooEntry.load`; batch norm is folded into convolutions."""
        words = self.card(folder).get("vocabulary")
        if not isinstance(words, list):
            raise UsageError(f"expected a vocabulary in the card of {self.name}, got {words!r}; train it again")
        path = (folder or self.folder()) / f"{self.name}.safetensors"
        module = load_half(self.build(Vocabulary(tuple(words))), path, self.name)
        module.encoder = fold_batch_norm(module.encoder)
        return CaptionerTarget(module, input_shape=IMAGE_SHAPE, name=self.name, data=lambda folder: self.data())


def _scenes() -> DataSet:
    return Scenes(train=40_000)


CAPTIONERS: dict[str, CaptionEntry] = {
    entry.name: entry
    for entry in (
        CaptionEntry("captioner-scenes-gru", captioner_gru, _scenes),
        CaptionEntry("captioner-scenes-lstm", captioner_lstm, _scenes),
    )
}
