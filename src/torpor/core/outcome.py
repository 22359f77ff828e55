"""What a target returns for a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torpor.core.work import Work


@dataclass(frozen=True, eq=False)
class Outcome:
    """Outputs of a dynamic run and the work that produced them.

    Attributes:
        outputs: the target's own kind, one entry per sample; logits ``[B, C]`` for classifiers.
        work: counts per sample and unit.
    """

    outputs: Any
    work: Work
