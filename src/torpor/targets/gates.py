"""The contract of targets whose gates stop computing on an image: early exit and its kin."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Behavior
from torpor.targets.base import Target


class GateTarget(Target):
    """A target of images whose gates decide how much is computed."""

    behavior: ClassVar[Behavior] = Behavior.COMPUTATION  # type: ignore[misc]
    space: ImageSpace

    @abstractmethod
    def signals(self, inputs: Tensor) -> GateSignals:
        """Evaluate every gate, differentiably."""
