"""Speech recognizers without their feature extractor: an attacker hands in the spectrogram, which cannot be played."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.decoder.generation.dense import DenseGenerationTarget
from torpor.targets.decoder.generation.readers import FeatureReader, LogMelReader


class Features(DataSet):
    """The log-mel features of sounds.

    Args:
        sounds: waves with their references.
        reader: computes features.
    """

    def __init__(self, sounds: DataSet, reader: LogMelReader) -> None:
        self.sounds, self.reader, self.name = sounds, reader, f"features of {sounds.name}"
        self.space = FeatureReader(reader.shape).space

    @override
    def fingerprint(self) -> str:
        return f"features of {self.sounds.fingerprint()}"

    @override
    def files(self) -> Mapping[str, Path]:
        return self.sounds.files()

    def samples(self, split: str) -> Iterator[tuple[Tensor, object]]:
        """Yield ``(features int16 [M, T], reference)``; see :meth:`DataSet.samples`."""
        for stored, reference in self.sounds.samples(split):
            wave = self.reader.space.from_bytes(stored).unsqueeze(0)
            yield self.space.to_bytes(self.reader(wave)["input_features"])[0], reference


def reading_features(target: DenseGenerationTarget) -> DenseGenerationTarget:
    """Return a recognizer whose inputs are the features ``[B, M, T]`` that ``target`` computes from sounds.

    Args:
        target: Whisper, reading sounds; see :func:`~torpor.targets.decoder.generation.from_transformers`.

    Raises:
        UsageError: if it reads something else.
    """
    reader = target.reader
    if not isinstance(reader, LogMelReader):
        raise UsageError(f"expected a target that reads sounds, got {target.name}; there are no features to hand in")
    if reader.shape[1] != 2 * target.model.config.max_source_positions:
        raise UsageError(f"expected a target that reads one window, got {target.name}; leave seconds out")

    def data(folder: Path | None) -> DataSet:
        return Features(target.data(folder), reader)

    features = FeatureReader(reader.shape)
    return DenseGenerationTarget(target.model, target.codec, features, name=f"{target.name}-features", data=data)
