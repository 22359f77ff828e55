"""The family of targets that hand on as many objects as they find."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from torpor.core.batches import Samples
from torpor.core.objects import Objects
from torpor.core.signals import CandidateSignals
from torpor.core.units import Behavior
from torpor.targets.family import Family


class CandidateFamily(Family[Any]):
    """Detectors, and the pipelines behind them."""

    id: ClassVar[str] = "detector"
    behavior: ClassVar[Behavior] = Behavior.OUTPUT
    signals: ClassVar[type | None] = CandidateSignals
    default_attacks: ClassVar[tuple[str, ...]] = ("overload", "phantom-sponges")
    batch_size: ClassVar[int] = 16
    by_chance: ClassVar[bool] = True

    def attacks_on(self, target: Any) -> tuple[str, ...]:  # noqa: ANN401 - any target that finds objects
        """See :meth:`Family.attacks_on`; a tracker that keeps lost tracks for a while also meets SlowTrack."""
        keeps = target.offers("buffer") and target.buffer > 0
        return (*self.default_attacks, "slowtrack") if keeps else self.default_attacks

    def blank(self, target: Any, count: int) -> Samples:  # noqa: ANN401 - any target that finds objects
        """Return no objects, followed by no track."""
        numbers = torch.zeros(0, dtype=torch.int64)
        found = Objects(torch.zeros(0, 4), numbers, torch.zeros(0))
        if target.space.kind == "image":
            return (found,) * count
        frame = Objects(torch.zeros(0, 4), numbers, torch.zeros(0), numbers)
        return ((frame,) * target.space.shape[0],) * count
