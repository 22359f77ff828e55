"""The contract of targets whose gates decide how much is computed: early exit, layer skipping and their kin."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from torpor.core.signals import GateSignals
from torpor.core.space import DenseSpace
from torpor.targets.base import Target
from torpor.targets.early_exit.family import GateFamily


class GateTarget(Target):
    """A target with gates, each of which may save units that come after it."""

    family = GateFamily()
    space: DenseSpace

    @abstractmethod
    def signals(self, inputs: Tensor) -> GateSignals:
        """Evaluate every gate, differentiably."""
