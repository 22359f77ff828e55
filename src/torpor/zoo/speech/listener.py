"""What a small recognizer hears in a spectrogram of spoken digits: how the synthesizer's outputs are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from torpor.data.scenes import NUMBERS

SILENCE = len(NUMBERS)
"""The class of frames in which no digit is spoken."""
SHORTEST = 5
"""Frames that a digit takes at least; shorter ones were misheard."""
BREAK = 3
"""Frames of silence that part two digits; shorter ones are within a digit."""


class Listener(nn.Module):
    """Tell for each frame of a log-mel spectrogram which digit is spoken, by half a second around it.

    It learns from recordings alone, never from what was synthesized.

    >>> Listener(40)(torch.zeros(1, 30, 40)).shape
    torch.Size([1, 30, 11])
    """

    def __init__(self, bands: int, width: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(bands, width, 9, padding=4),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv1d(width, width, 9, padding=8, dilation=2),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv1d(width, SILENCE + 1, 1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``[B, F, bands]`` to scores of the ten digits and silence, ``[B, F, 11]``."""
        scores: Tensor = self.layers(frames.transpose(1, 2))
        return scores.transpose(1, 2)

    @torch.no_grad()
    def hear(self, frames: Tensor) -> str:
        """Return the names of the digits that are spoken in ``frames`` ``[F, bands]``."""
        return spelled(self(frames.unsqueeze(0))[0].argmax(-1).tolist())


def spelled(classes: Sequence[int]) -> str:
    """Return the digits' names, given the class of each frame: of every part between silences the commonest digit.

    >>> spelled([3] * 9 + [10] * 4 + [3] * 6 + [10] + [7] * 2 + [10] * 3 + [7] * 5 + [10] * 3 + [2] * 4)
    'three three seven'
    """
    parts: list[list[int]] = [[]]
    for number, run in groupby(classes):
        length = len(list(run))
        if number != SILENCE:
            parts[-1] += [number] * length
        elif length >= BREAK:
            parts.append([])
    return " ".join(NUMBERS[Counter(part).most_common(1)[0][0]] for part in parts if len(part) >= SHORTEST)
