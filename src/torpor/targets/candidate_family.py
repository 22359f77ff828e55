"""The family of targets that hand on as many objects as they find."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.objects import Objects
from torpor.core.signals import CandidateSignals
from torpor.core.units import Behavior
from torpor.targets.candidate_traits import of_candidates
from torpor.targets.family import Family


class CandidateFamily(Family[Any]):
    """Detectors, and the pipelines behind them."""

    id: ClassVar[str] = "detector"
    behavior: ClassVar[Behavior] = Behavior.OUTPUT
    signals: ClassVar[type | None] = CandidateSignals
    default_attacks: ClassVar[tuple[str, ...]] = ("overload", "phantom-sponges")
    batch_size: ClassVar[int] = 16
    by_chance: ClassVar[bool] = True

    def blank(self, target: Any, count: int) -> Samples:  # noqa: ANN401 - any target that finds objects
        """Return no objects, followed by no track."""
        numbers = torch.zeros(0, dtype=torch.int64)
        found = Objects(torch.zeros(0, 4), numbers, torch.zeros(0))
        if target.space.kind == "image":
            return (found,) * count
        frame = Objects(torch.zeros(0, 4), numbers, torch.zeros(0), numbers)
        return ((frame,) * target.space.shape[0],) * count

    def answers(self, target: Any, signals: CandidateSignals) -> Tensor:  # noqa: ANN401
        """Return the scores of every box, for videos of each frame."""
        return signals.scores

    def traits(self, target: Any, signals: CandidateSignals) -> Tensor:  # noqa: ANN401
        """See :func:`~torpor.targets.candidate_traits.of_candidates`; for videos, of each frame."""
        return of_candidates(signals, target.nms.conf)
