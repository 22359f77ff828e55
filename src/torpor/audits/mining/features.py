"""Cheap features of inputs, from which a surrogate guesses their cost without running them."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from torpor.audits.mining.inputs import NaturalInputs
from torpor.core.conversation import shown_turn
from torpor.core.errors import UsageError

Row = list[float]
CHUNK = 256
"""Inputs that are read at once."""


def feature_table(inputs: NaturalInputs) -> NDArray[np.float64]:
    """Return the features of every input, float64 ``[N, F]``.

    Raises:
        UsageError: if there are none for this kind of inputs.
    """
    if inputs.kind not in FEATURES:
        raise UsageError(f"expected texts, images or sounds with --budget, got {inputs.kind}s; leave it out")
    of = FEATURES[inputs.kind]
    rows = range(len(inputs))
    chunks = [rows[first : first + CHUNK] for first in range(0, len(rows), CHUNK)]
    return np.array([of(each) for chunk in chunks for each in inputs.read(chunk)], dtype=np.float64)


def text_features(stored: str) -> Row:
    """Return features of a text: how long it is, how varied, and what it is made of.

    >>> dict(zip(("bytes", "characters", "words"), text_features("two words"), strict=False))
    {'bytes': 9, 'characters': 9, 'words': 2}
    """
    text = shown_turn(stored)
    data, words, count = stored.encode("utf-8", "replace"), text.split(), max(1, len(text))
    kinds: Sequence[Callable[[str], bool]] = (str.isdigit, str.isupper, str.isalpha, str.isspace)
    packed = len(zlib.compress(data, 1)) / max(1, len(data))
    return [
        len(data),
        len(text),
        len(words),
        np.log1p(len(data)),
        entropy(list(Counter(text).values())),
        len(set(words)) / max(1, len(words)),
        max(map(len, words), default=0),
        longest_run(text),
        packed,
        *(sum(map(kind, text)) / count for kind in kinds),
        *(float(sum(map(kind, text))) for kind in kinds[:2]),
        text.count("\n"),
        text.count("?"),
    ]


def image_features(stored: Tensor) -> Row:
    """Return features of an image ``[C, H, W]``: brightness, contrast, edges, and how well it packs."""
    pixels = stored.numpy().astype(np.float64) / 255
    across, down = np.diff(pixels, axis=2), np.diff(pixels, axis=1)
    histogram = np.histogram(pixels, bins=32, range=(0, 1))[0]
    edges = [float(np.abs(each).mean()) for each in (across, down)]
    sharp = [float((each**2).mean()) for each in (np.diff(across, axis=2), np.diff(down, axis=1))]
    return [float(pixels.mean()), float(pixels.std()), *edges, *sharp, entropy(histogram.tolist()), _packed(stored)]


def wave_features(stored: Tensor) -> Row:
    """Return features of a sound ``[T]``: loudness, length before the silence, pitch, and how well it packs."""
    wave = stored.numpy().astype(np.float64) / 32768
    heard = np.flatnonzero(wave)
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    whole, crossings = float(spectrum.sum()), int((np.diff(np.signbit(wave)) != 0).sum())
    center = float((spectrum * np.arange(len(spectrum))).sum()) / whole if whole > 0 else 0.0
    length = int(heard[-1]) + 1 if len(heard) else 0
    loud = [float(np.abs(wave).max(initial=0)), float(np.sqrt((wave**2).mean()))]
    return [*loud, length, crossings, center, entropy(spectrum.tolist()), _packed(stored)]


def entropy(weights: Sequence[float]) -> float:
    """Return the entropy of weights of 0 or more, in bits.

    >>> entropy([1, 1, 1, 1]), entropy([])
    (2.0, 0.0)
    """
    whole = float(sum(weights))
    if whole <= 0:
        return 0.0
    shares = np.array([weight / whole for weight in weights if weight > 0])
    return float(-(shares * np.log2(shares)).sum())


def longest_run(text: str) -> int:
    """Return how often a character follows itself at most.

    >>> longest_run("abbba"), longest_run("")
    (3, 0)
    """
    longest = run = 0
    for place, character in enumerate(text):
        run = run + 1 if place and character == text[place - 1] else 1
        longest = max(longest, run)
    return longest


def _packed(stored: Tensor) -> float:
    data = stored.contiguous().numpy().tobytes()
    return len(zlib.compress(data, 1)) / max(1, len(data))


FEATURES: dict[str, Callable[..., Row]] = {"text": text_features, "image": image_features, "wave": wave_features}
"""Features by kind of inputs."""
