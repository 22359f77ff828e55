"""Families of targets whose gates decide how much is computed."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.signals import GateSignals
from torpor.core.units import Behavior
from torpor.targets.exit_traits import of_exits
from torpor.targets.family import Family


class GateFamily(Family[Any]):
    """Any mechanism whose gates save units: layer skipping, halting, token pruning. Early exit has a family of its own.

    Outputs are class scores ``[B, C]``, unless a subclass says otherwise.
    """

    id: ClassVar[str] = "gates"
    behavior: ClassVar[Behavior] = Behavior.COMPUTATION
    signals: ClassVar[type | None] = GateSignals
    default_attacks: ClassVar[tuple[str, ...]] = ("standard",)

    def blank(self, target: Any, count: int) -> Samples:  # noqa: ANN401 - any target with classes
        """Return NaN for the score of each class."""
        return torch.full((count, int(target.details()["classes"])), torch.nan, device=target.device)

    def answers(self, target: Any, signals: GateSignals) -> Tensor | None:  # noqa: ANN401
        """Return class probabilities at each exit."""
        return signals.logits.softmax(-1)


class EarlyExitFamily(GateFamily):
    """Networks that stop at the first exit that is sure enough."""

    id: ClassVar[str] = "early-exit"

    def traits(self, target: Any, signals: GateSignals) -> Tensor:  # noqa: ANN401 - any target that exits early
        """See :func:`~torpor.targets.exit_traits.of_exits`."""
        return of_exits(signals, target.exits(signals.work), len(target.exit_costs))
