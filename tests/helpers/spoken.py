"""A folder of made-up recordings: tones instead of digits."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def wav(samples: np.ndarray, *, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    """Encode samples as a WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def tone(digit: int, speaker: int, milliseconds: int = 200) -> np.ndarray:
    """Return a tone that tells the digit, as loud as the speaker."""
    time = np.arange(8 * milliseconds) / 8000
    return (1000 * (speaker + 1) * np.sin(2 * np.pi * (300 + 150 * digit) * time)).round()


def write(folder: Path, *, split: str = "test", sounds: list[Any], labels: list[Any], speakers: list[Any]) -> Path:
    """Write one file, sounds as they are on the hub."""
    audio = [{"bytes": sound, "path": None} if isinstance(sound, bytes) else sound for sound in sounds]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"audio": audio, "label": labels, "speaker": speakers}), folder / f"{split}.parquet")
    return folder


def recordings(folder: Path, copies: int = 12) -> Path:
    """Write recordings of every digit by two speakers, ``copies`` for training and one for the test."""
    for split, count in (("train", copies), ("test", 1)):
        rows = [(digit, speaker, copy) for copy in range(count) for speaker in (0, 1) for digit in range(10)]
        sounds = [wav(tone(digit, speaker, 150 + 10 * copy)) for digit, speaker, copy in rows]
        speakers = [f"speaker {speaker}" for _, speaker, _ in rows]
        write(folder, split=split, sounds=sounds, labels=[digit for digit, _, _ in rows], speakers=speakers)
    return folder
