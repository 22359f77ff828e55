"""Exit deadlines: an early-exit target answers in time, sure or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.work import Work
from torpor.defenses.guards.base import Guard
from torpor.defenses.settings import DIGITS
from torpor.targets.base import Target
from torpor.targets.early_exit.target import LEAST


@dataclass(frozen=True)
class Deadline(Guard):
    """Samples leave at the deadline at the latest, with the scores of that exit; what follows it never runs.

    Set by the number of exits, ``deadline:3``, or by a share of the FLOPs of the whole network, ``deadline:0.5``: the
    last exit that costs no more.

    Attributes:
        share: of the whole network's FLOPs; None if ``exits`` is set.
        exits: that are left; None if ``share`` is set.
    """

    id: ClassVar[str] = "deadline"
    caps: ClassVar[tuple[str, ...]] = ("exit",)

    share: float | None = 0.5
    exits: int | None = None

    @classmethod
    @override
    def parse(cls, value: str) -> Self:
        if value == "":
            return cls()
        if value.isascii() and value.isdigit() and len(value) < DIGITS and int(value) >= LEAST:
            return cls(None, int(value))
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            raise UsageError(f"expected deadline:SHARE between 0 and 1, or deadline:EXITS from 2, got {value!r}")
        return cls(share)

    @property
    @override
    def name(self) -> str:
        return f"deadline:{self.share:g}" if self.exits is None else f"deadline:{self.exits}"

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("upto", "exit_costs")

    @override
    def check(self, target: Any) -> None:
        super().check(target)
        self._left(target)

    def bounded(self, target: Any) -> Target:  # noqa: ANN401 - any target that exits early
        """See :meth:`Guard.bounded`; a deadline at the last exit leaves all."""
        guarded: Target = target.upto(self._left(target))
        return guarded

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(None, exits) for exits in range(len(target.exit_costs) - 1, LEAST - 1, -1))

    @override
    def replayed(self, target: Any, inputs: Samples, work: Work) -> Work | None:
        exits = len(target.exit_costs)
        return Work(work.counts[:, : self._left(target)]) if work.counts.shape[1] == exits else None

    def _left(self, target: Any) -> int:  # noqa: ANN401
        """Return how many exits are left."""
        if self.exits is not None:
            if self.exits > (most := len(target.exit_costs)):
                raise UsageError(
                    f"expected deadline:EXITS from {LEAST} to {most} for {target.name}, got {self.exits}: it has "
                    f"{most}, a later deadline bounds nothing"
                )
            return self.exits
        assert self.share is not None
        within = int((target.exit_costs <= self.share).sum())
        if within < LEAST:
            raise UsageError(
                f"expected a deadline of {target.name} after its second exit, at {target.exit_costs[1]:.3g} of the "
                f"whole network's FLOPs, got {self.share:g}; give it more"
            )
        return within
