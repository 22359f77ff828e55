"""The quota of one request, as a guard: the caps with which no request costs more than a share of the bound."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.defenses.guards.base import Guard
from torpor.serving.affordable import at_rung, rungs_of
from torpor.targets.base import Target

WHOLE = 100
STRIDE = 5
"""Per cent between two settings of a ladder."""


@dataclass(frozen=True)
class RequestQuota(Guard):
    """No request may cost more than so many per cent of the target's static bound, ``quota:40``.

    The target runs with the largest caps that this affords, as :class:`~torpor.serving.Quota` has it run where no more
    is left: outputs end sooner, samples leave at an earlier exit, fewer boxes are kept. Any target has this guard that
    has caps to lower (:class:`~torpor.targets.capabilities.Capped`), those of plug-ins too.

    Attributes:
        percent: of the static bound; 50 if nothing is said.

    >>> from torpor.targets.decoder.toy_steps import PeakTarget
    >>> RequestQuota(40).defend(PeakTarget(cap=40)).static_work().counts.tolist()
    [[1, 14]]
    """

    id: ClassVar[str] = "quota"
    setting: ClassVar[str | None] = "percent"

    percent: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.percent < WHOLE:
            raise UsageError(f"expected 1 to 99 per cent of the static bound after {self.id}:, got {self.percent}")

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return rungs_of(target) > 1

    @override
    def bounded(self, target: Any) -> Target:
        rung = self._rung(target)
        if rung == rungs_of(target):
            raise UsageError(
                f"expected a quota that the smallest caps of {target.name} keep, got {self.percent} % of its static "
                "bound; give it more"
            )
        return at_rung(target, rung)

    def _rung(self, target: Target) -> int:
        """Return the first rung within the quota; one more than there are if none is."""
        most = bound(target) * self.percent / WHOLE
        below = range(1, rungs_of(target))
        return 1 + bisect_left(below, True, key=lambda rung: bound(at_rung(target, rung)) <= most)

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        found: dict[int, Self] = {}
        for percent in range(WHOLE - STRIDE, 0, -STRIDE):
            found.setdefault((quota := cls(percent))._rung(target), quota)
        return tuple(quota for rung, quota in found.items() if rung < rungs_of(target))


def bound(target: Target) -> float:
    """Return the static bound of any input, in the target's currency."""
    return float(target.prices.cost(target.static_work()).item())
