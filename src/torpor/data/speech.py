"""Digits that people recorded, joined to utterances whose transcripts have varied lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from torpor.core.errors import DataError
from torpor.data.parquet import held_out
from torpor.data.scenes import NUMBERS
from torpor.data.sets import SPLITS, DataSet
from torpor.data.tables import count_rows, read_rows
from torpor.data.waves import read_wav

RATE = 16_000
"""Samples per second of an utterance: more than those of a recording, since Whisper's filters reach up to 8 kHz."""
SECONDS = 3
MOST_DIGITS = 4
GAP = (0.03, 0.25)
"""Shortest and longest silence before a digit, in seconds."""
PEAK = (0.2, 0.8)
"""Lowest and highest peak of an utterance; each of its digits has the same."""


@dataclass(frozen=True)
class Recording:
    """One spoken digit.

    Attributes:
        wave: its samples at ``RATE``, float32 ``[T]``, the loudest 1 or -1.
        digit: 0 to 9.
    """

    wave: NDArray[np.float32]
    digit: int


class SpokenDigits(DataSet):
    """One to four digits that one person spoke, with silence between and after them, and their names.

    The recordings are those of the Free Spoken Digit Dataset (Jackson et al., 2018), in ``train.parquet`` and
    ``test.parquet`` with columns ``audio`` (a struct with the ``bytes`` of a WAV file), ``label`` and ``speaker``. Each
    utterance is a function of its split and number alone. A twentieth of the training recordings is held out for
    validation, so no recording is in two splits.

    Args:
        folder: the folder of the files.
        train: utterances in the training split; :meth:`utterance` draws as many as wanted.
        held_out: utterances in the validation split, and in the test split.
    """

    name = "spoken-digits"

    def __init__(self, folder: Path, train: int = 2000, held_out: int = 500) -> None:
        self.folder, self.sizes = folder, {"train": train, "validation": held_out, "test": held_out}
        self._recordings: dict[str, dict[str, list[Recording]]] = {}

    def fingerprint(self) -> str:
        """Return the name, the number of rows of each file, and that of utterances."""
        rows = {split: count_rows(self._path(split)) for split in ("train", "test")}
        return f"{self.name} {rows} {self.sizes['train']} {self.sizes['test']}"

    @override
    def files(self) -> Mapping[str, Path]:
        return {split: self._path(split) for split in SPLITS}

    def samples(self, split: str) -> Iterator[tuple[Tensor, str]]:
        """Yield ``(wave int16 [48000], transcript)``.

        Raises:
            DataError: if the split does not exist, or its recordings cannot be read.
        """
        if split not in SPLITS:
            raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
        for number in range(self.sizes[split]):
            yield self.utterance(split, number)

    def utterance(self, split: str, number: int) -> tuple[Tensor, str]:
        """Return utterance ``number`` (from 0, without end) of ``split``, int16 ``[48000]``, and its transcript."""
        speakers = list(self.recordings(split).values())
        rng = np.random.default_rng((SPLITS.index(split), number))
        own = speakers[rng.integers(len(speakers))]
        sound, words = np.zeros(RATE * SECONDS, np.float32), []
        end = 0
        for _ in range(rng.integers(1, MOST_DIGITS + 1)):
            said = own[rng.integers(len(own))]
            start = end + int(RATE * rng.uniform(*GAP))
            end = start + len(said.wave)
            if end > len(sound):
                break
            sound[start:end] = said.wave
            words.append(NUMBERS[said.digit])
        stored = (sound * (32767 * rng.uniform(*PEAK))).round().astype(np.int16)
        return torch.from_numpy(stored), " ".join(words)

    def _path(self, split: str) -> Path:
        return self.folder / ("test.parquet" if split == "test" else "train.parquet")

    def recordings(self, split: str) -> dict[str, list[Recording]]:
        """Return the recordings of ``split`` by their speakers' names.

        Raises:
            DataError: if they cannot be read.
        """
        if split not in self._recordings:
            path, speakers = self._path(split), dict[str, list[Recording]]()
            for row, (audio, label, speaker) in enumerate(read_rows(path, ("audio", "label", "speaker"), "recordings")):
                if split == "test" or held_out(row) == (split == "validation"):
                    speakers.setdefault(speaker, []).append(_recording(audio, label, f"row {row} of {path}"))
            if not speakers:
                raise DataError(f"expected recordings of split {split}, got none in {path}; fetch it again")
            self._recordings[split] = speakers
        return self._recordings[split]


def spoken_digits(folder: Path | None) -> SpokenDigits:
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


def _recording(audio: object, label: object, where: str) -> Recording:
    """Check and decode one row."""
    if not isinstance(label, int) or not 0 <= label < len(NUMBERS):
        raise DataError(f"expected a digit from 0 to 9, got {label!r} in {where}")
    content = audio.get("bytes") if isinstance(audio, dict) else None
    if not isinstance(content, bytes):
        raise DataError(f"expected a sound as a struct with bytes, got {type(audio).__name__} in {where}")
    sound = read_wav(content, RATE, where)
    if len(sound) > RATE * (SECONDS - GAP[1]):
        raise DataError(
            f"expected a recording of {SECONDS - GAP[1]:g} s or less, got {len(sound) / RATE:.2f} s in {where}; cut it"
        )
    return Recording(sound / max(float(np.abs(sound).max()), 1.0), label)
