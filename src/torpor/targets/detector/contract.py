"""The contract of targets that pass on as many outputs as they find: detectors, and the pipelines that they feed."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.lazy import Renamed
from torpor.core.signals import CandidateSignals
from torpor.core.units import Unit
from torpor.core.work import PriceList
from torpor.targets.base import Target
from torpor.targets.detector.family import CandidateFamily
from torpor.targets.detector.nms import NMS

CANDIDATE = "candidate"
"""Name of the unit that runs once for each box above the confidence threshold."""
PAIR = "nms_pair"
"""Name of the unit that runs once for each pair of boxes that non-maximum suppression compares."""

DOWNSTREAM = "downstream"
"""Name of the unit, and of its stage, that stands for what is done about each object that is handed on."""


class CandidateTarget(Target):
    """A target whose work grows with the number of boxes that it finds in an image or in the frames of a video.

    Attributes:
        classes: names of the classes.
        nms: thresholds and caps of the deployment.
        letterbox: whether images of other proportions are letterboxed with gray; else they are stretched.
        downstream: what each object that is handed on costs after this target, in its currency; None if not given.
    """

    family = CandidateFamily()
    classes: tuple[str, ...]
    nms: NMS
    letterbox: bool = True
    downstream: float | None = None
    bars = Renamed("letterbox")

    @property
    @abstractmethod
    def detector(self) -> CandidateTarget:
        """The part that looks at one image at a time; a detector's own is itself."""

    @abstractmethod
    def signals(self, inputs: Tensor) -> CandidateSignals:
        """Return every box that is proposed, differentiably; frames of videos are images of their own."""

    def with_downstream(self, cost_per_object: float) -> Self:
        """Return the same target with a price on each object that it hands on: cost is its own work and what follows.

        Its units end with ``downstream``, which counts those objects, in videos those that a track follows.

        Args:
            cost_per_object: in this target's currency.

        Raises:
            UsageError: if it is not a positive number, or the target has a price already or does not apply this one.
        """
        if not (math.isfinite(cost_per_object) and cost_per_object > 0):
            raise UsageError(f"expected a cost per object greater than 0, got {cost_per_object:g}")
        if self.downstream is not None:
            raise UsageError(f"expected {self.name} without a price per object, got one with {self.downstream:g}")
        other = copy.copy(self)
        other.downstream = float(cost_per_object)  # so that 2 and 2.0 are the same audit
        other.units = (*self.units, Unit(DOWNSTREAM, None, DOWNSTREAM))
        if other.prices.per_unit[-1] != cost_per_object:
            raise UsageError(
                f"expected {self.name} to price its unit {DOWNSTREAM!r} at {cost_per_object:g} "
                f"{other.prices.currency}, got {other.prices.per_unit[-1]:g}; let its price() return self.downstream "
                "for that unit"
            )
        return other

    def ranked(self) -> Self:
        """Return the target by whose cost the standard ensemble compares candidates: this one, by default.

        A target whose headline is not its cost returns one whose cost grows with the headline first.
        """
        return self

    def price(self, units: Sequence[Unit]) -> PriceList:
        """See :meth:`Target.price`; objects handed on have the price that :meth:`with_downstream` was given."""
        own = PriceList.flops([unit for unit in units if unit.name != DOWNSTREAM])
        left = iter(own.per_unit)
        known = tuple((self.downstream or 0.0) if unit.name == DOWNSTREAM else next(left) for unit in units)
        return PriceList(own.name, known)

    def details(self) -> dict[str, Any]:
        """Return the caps and thresholds; see :meth:`Target.details`."""
        priced = {} if self.downstream is None else {DOWNSTREAM: self.downstream}
        return {"nms": {name: getattr(self.nms, name) for name in self.nms.__dataclass_fields__}, **priced}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the price of an object counts."""
        return super().fingerprint() if self.downstream is None else f"{super().fingerprint()} {self.downstream!r}"
