"""What gradient attacks on decoders of images and sound share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torpor.attacks.iterative import IterativeAttack
from torpor.attacks.search.balls import BALLS, Ball
from torpor.core.signals import StepSignals


@dataclass(frozen=True, kw_only=True)
class StepAttack(IterativeAttack):
    """A gradient attack on a decoder."""

    reads: ClassVar[type | None] = StepSignals

    @property
    def ball(self) -> Ball:
        """Geometry of the budget."""
        return BALLS[self.norm]
