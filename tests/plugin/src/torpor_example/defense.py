"""A defense: digits never reach the target."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import torch

from torpor.core.space import InputSpace
from torpor.defenses.transforms.base import CHARACTERS, Transform


@dataclass(frozen=True)
class MaskDigits(Transform):
    """Write ``#`` in place of each digit."""

    id: ClassVar[str] = "example-mask"
    kinds: ClassVar[tuple[str, ...]] = ("text",)

    def forward(self, inputs: tuple[str, ...], generators: list[torch.Generator]) -> tuple[str, ...]:
        return tuple(re.sub("[0-9]", "#", text) for text in inputs)

    def flops(self, space: InputSpace) -> int:
        """Return one operation per character."""
        return CHARACTERS
