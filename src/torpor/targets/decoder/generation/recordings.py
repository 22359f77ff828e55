"""Whether a folder of recordings is longer than what a saved Whisper reads at once."""

from __future__ import annotations

import json
import math
import wave
from pathlib import Path
from typing import Any

from torpor.targets.model_options import Options

WINDOW_S = 30
"""Seconds that Whisper reads at once where its feature extractor does not say otherwise."""


def seconds_to_read(name: str, inputs: Path) -> float | None:
    """Return the seconds of the longest recording, in tenths; None if Whisper reads it at once, or this is not Whisper.

    Also None for models that are not in a folder, and where the user says how many seconds are read.

    Args:
        name: of the model, with options.
        inputs: a file or a folder; what is no WAV file is passed over.
    """
    model, options = Options.split(name)
    folder = Path(model).expanduser()
    if options.seconds is not None or _read(folder / "config.json").get("model_type") != "whisper":
        return None
    window: float = _read(folder / "preprocessor_config.json").get("chunk_length") or WINDOW_S
    files = sorted(inputs.iterdir()) if inputs.is_dir() else [inputs]
    longest = max((_seconds(file) for file in files if file.suffix.lower() == ".wav"), default=0.0)
    return math.ceil(10 * longest) / 10 if longest > window else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(path: Path) -> float:
    try:
        with wave.open(str(path)) as file:
            return float(file.getnframes() / file.getframerate())
    except (wave.Error, EOFError, OSError, ValueError, ZeroDivisionError):
        return 0.0
