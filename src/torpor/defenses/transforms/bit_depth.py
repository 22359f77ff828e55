"""Fewer gray levels: small changes of a pixel vanish, or are rounded up to a whole level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.space import InputSpace
from torpor.core.threat import Paper
from torpor.defenses.settings import within
from torpor.defenses.transforms.base import Transform, image_shape
from torpor.defenses.transforms.smoothing import SQUEEZING


@dataclass(frozen=True)
class BitDepth(Transform):
    """Round every value to one of ``2 ** bits`` levels.

    The surrogate is the identity: on average over a level, that is the slope of a staircase (Athalye et al.).

    Attributes:
        bits: of a value, 1 to 7.

    >>> BitDepth(1).forward(torch.tensor([0.4, 0.6]), []).tolist(), BitDepth.parse("").name
    ([0.0, 1.0], 'bit-depth:4')
    """

    id: ClassVar[str] = "bit-depth"
    paper: ClassVar[Paper | None] = SQUEEZING
    setting: ClassVar[str | None] = "bits"

    bits: int = 4

    def __post_init__(self) -> None:
        within(self.id, "bits", self.bits, range(1, 8), "1 to 7")

    @override
    def forward(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        most = (1 << self.bits) - 1
        return (inputs * most).round() / most

    def flops(self, space: InputSpace) -> int:
        """Return 3 for each value: multiply, round, divide."""
        return 3 * math.prod(image_shape(space))
