"""Spectrograms of recordings, as the speech synthesizer is to produce them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torpor.data.speech import RATE
from torpor.zoo.speech.synthesizer import BANDS, FRAMES

HOP = RATE // 50
"""Samples from one frame to the next: 20 ms."""
WINDOW = RATE // 32
LOWEST, HIGHEST = 60.0, 4000.0
"""Edges of the mel bands in hertz; the recordings hold 8,000 samples per second."""
FLOOR = 1e-4
"""Energy of silence; a recording's loudest sample is 1 or -1."""


def mel_filters() -> Tensor:
    """Return the weight of each frequency in each band, float32 ``[WINDOW / 2 + 1, BANDS]``: triangles.

    >>> mel_filters().shape, int(mel_filters()[:, 0].argmax())
    (torch.Size([251, 40]), 3)
    """
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (LOWEST, HIGHEST))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    up = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.maximum(0, np.minimum(up, down))).to(torch.float32)


def spectrogram(wave: NDArray[np.float32]) -> Tensor:
    """Return the frames of a wave at ``RATE``, ``[F, BANDS]``: 0 is silence, 1 is 40 decibels above it.

    >>> spectrogram(np.zeros(RATE, np.float32)).unique().tolist()
    [0.0]
    """
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(torch.from_numpy(wave), WINDOW, HOP, window=window, return_complex=True)
    energy = spectrum.abs().square().T @ mel_filters() / 2
    return (energy.clamp_min(FLOOR) / FLOOR).log10() / 4


def in_steps(frames: Tensor) -> Tensor:
    """Return frames ``[F, BANDS]`` as those of decoder steps, ``[T, FRAMES * BANDS]``, silence at the end.

    >>> in_steps(torch.ones(3, BANDS)).sum(1).tolist()
    [80.0, 40.0]
    """
    missing = -len(frames) % FRAMES
    return torch.cat([frames, frames.new_zeros(missing, BANDS)]).view(-1, FRAMES * BANDS)
