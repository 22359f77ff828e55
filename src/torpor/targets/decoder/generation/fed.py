"""What goes into a decoder, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from torpor.targets.decoder.generation.library import cache_in, tokens_in


@dataclass(frozen=True, eq=False)
class Fed:
    """A batch as ``generate`` takes it.

    Attributes:
        arguments: such as ``input_ids`` and ``attention_mask``.
        padding: tokens of padding in each row of a decoder-only model's prompts; empty for other models.
        hole: where that padding begins.
    """

    arguments: dict[str, Any]
    padding: Sequence[int] = ()
    hole: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.arguments.values())))

    @property
    def whole(self) -> int:
        """Tokens of each row of what the model reads, padding included; 0 where inputs are not texts."""
        ids = self.arguments.get("input_ids")
        return 0 if ids is None else int(ids.shape[1])

    @property
    def width(self) -> int:
        """Tokens that the model reads of each row, padding included, beside those whose keys are known; 0 for none."""
        return self.whole - tokens_in(cache_in(self.arguments))


@dataclass(frozen=True)
class Decoded:
    """What became of one sample.

    Attributes:
        start: tokens that the decoder had before its first step.
        ids: tokens that it generated.
        steps: its forward calls.
        stopped: whether a stop string ended it.
    """

    start: tuple[int, ...]
    ids: tuple[int, ...]
    steps: int
    stopped: bool = False


Feeder = Callable[[list[int]], Fed]
"""Gives the batch of some samples, told by their numbers."""
Draws = Callable[[list[int]], list[torch.Generator]]
"""Gives fresh generators of some samples, told by their numbers."""
