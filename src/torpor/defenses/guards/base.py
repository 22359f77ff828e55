"""Guards: defenses that keep the work below a smaller static bound, whatever the input is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack
from torpor.core.batches import Samples, take
from torpor.core.errors import UsageError
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.defenses.base import LEARNED, Defense
from torpor.defenses.layer import frames_of
from torpor.targets.base import Target

SHARE = 0.999
"""Share of clean samples that a fitted cap leaves as they are."""
FIT_LIMIT = 1000
"""Clean samples that a guard is fitted on at most; of videos, frames."""
CHUNK = 64
"""Samples that are run together for that."""
RUNGS = 24
"""Settings of a ladder at most."""
KINDS = {int: torch.int64, float: torch.float64}
"""How learned numbers are stored."""


@dataclass(frozen=True)
class Guard(Defense):
    """A defense by construction: the guarded target *is* the target, with smaller caps. Kinds write :meth:`bounded`.

    What a guard does to an attack it does to a clean sample of the same cost too: audits report which ones it degrades.
    """

    @override
    def defend(self, target: Target) -> Target:
        self.check(target)
        guarded = self.bounded(target)
        guarded.name = f"{target.name} defended by {self.name}"
        return guarded

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the fields, numbers, that :meth:`fit` sets for this setting."""
        return ()

    @property
    def unset(self) -> bool:
        """Whether there is something left to learn."""
        return any(getattr(self, name) is None for name in self.needs)

    def not_fitted(self) -> UsageError:
        """Return the error of a guard that must be fitted first."""
        return UsageError(f"expected a fitted guard, got {self.name} before fit(); fit it on clean inputs")

    @override
    def state(self) -> Mapping[str, Tensor]:
        if self.unset:
            raise self.not_fitted()
        values = {name: getattr(self, name) for name in self.needs}
        return {name: torch.tensor(value, dtype=KINDS[type(value)]) for name, value in values.items()}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        self._check_state(state, self.needs)
        return replace(self, **{name: value.item() for name, value in state.items()})

    @abstractmethod
    def bounded(self, target: Any) -> Target:  # noqa: ANN401 - of the kind that it applies to
        """Return a copy of ``target`` with smaller caps, never with larger ones.

        Raises:
            UsageError: if the guard must be fitted first, or leaves too little of the target.
        """

    def prepared(
        self, target: Target, data: DataSet, attacks: Sequence[Attack], seed: int, learned: int = LEARNED
    ) -> Self:
        """See :meth:`Defense.prepared`; what is neither set nor learned is learned from clean validation samples."""
        if not self.unset:
            return self
        self.check(target)
        limit = -(-FIT_LIMIT // frames_of(target.space))
        return self.fit(target, target.read(data.load("validation", limit).inputs))

    def fit(self, target: Any, inputs: Samples) -> Self:  # noqa: ANN401
        """Return the guard fitted on clean ``inputs``, none of which it will be judged on."""
        return self

    @classmethod
    def ladder(cls, target: Any) -> tuple[Self, ...]:  # noqa: ANN401
        """Return settings to choose from on ``target``, the loosest first; none where there is no choice.

        None has a larger static bound than the one before, and all of them learn the same, if they learn.
        """
        return ()

    def replayed(self, target: Any, inputs: Samples, work: Work) -> Work | None:  # noqa: ANN401
        """Return what inputs whose work is known do under this guard; None if only a run can tell.

        An input whose counts stay as they were has the same output, too.

        Args:
            target: without the guard.
            inputs: that ran there.
            work: of these runs.

        Returns:
            Counts of the units of the guarded target.
        """
        return None


@dataclass(frozen=True)
class Cap(Guard):
    """A guard with one cap, which is set, as in ``steps:40``, or learned.

    Attributes:
        most: the cap; None to learn it.
    """

    learns: ClassVar[bool] = True
    setting: ClassVar[str | None] = "most"

    most: int | None = None

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise UsageError(f"expected a cap of 1 or more after {self.id}:, got {self.most}; such as {self.id}:100")


@dataclass(frozen=True)
class LearnedCap(Cap):
    """A cap that is one number, learned from what clean inputs need. Kinds write :meth:`needed`.

    Attributes:
        most: the cap; None to learn it.
        learned: what was learned.
    """

    learned: int | None = None

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return ("learned",) if self.most is None else ()

    @property
    def cap(self) -> int:
        """What was set, or learned.

        Raises:
            UsageError: if neither was.
        """
        return known(self.learned if self.most is None else self.most, self.name)

    @override
    def fit(self, target: Any, inputs: Samples) -> Self:
        if self.most is not None:
            return self
        return self.learn(target, [value for some in chunks(inputs) for value in self.needed(target, some)])

    @abstractmethod
    def needed(self, target: Any, inputs: Samples) -> list[int]:  # noqa: ANN401
        """Return what clean inputs need: the smallest cap that changes nothing, of each."""

    def learn(self, target: Any, needed: Sequence[int]) -> Self:  # noqa: ANN401
        """Return the guard with a cap that leaves almost all clean inputs as they are, if none is set.

        Args:
            target: without the guard.
            needed: what :meth:`needed` returns for the clean inputs.
        """
        return self if self.most is not None else replace(self, learned=int(benign_most(needed)))


def chunks(inputs: Samples) -> Iterator[Samples]:
    """Yield ``inputs`` a few at a time."""
    for rows in torch.arange(len(inputs)).split(CHUNK):
        yield take(inputs, rows)


def benign_most(values: npt.ArrayLike) -> float:
    """Return the least of ``values`` that a share of :data:`SHARE` does not exceed.

    Of fewer than 1000 values it is the largest: no sample that the guard was fitted on is cut.

    >>> benign_most([1, 2, 3, 50]), benign_most(range(2001))
    (50.0, 1998.0)
    """
    return float(np.quantile(np.asarray(values, dtype=np.float64), SHARE, method="higher"))


def rungs_below(most: int) -> tuple[int, ...]:
    """Return caps below ``most`` down to 1, each smaller than the last by about the same factor where they are many.

    >>> rungs_below(5), len(rungs_below(30_000)), rungs_below(30_000)[-3:]
    ((4, 3, 2, 1), 23, (4, 2, 1))
    """
    if most <= RUNGS:
        return tuple(range(most - 1, 0, -1))
    return tuple(dict.fromkeys(round(most ** (1 - step / RUNGS)) for step in range(1, RUNGS + 1)))


def known(value: int | None, guard: str) -> int:
    """Return a cap that was set or learned.

    Raises:
        UsageError: if it was not.
    """
    if value is None:
        raise UsageError(f"expected a fitted guard, got {guard} before fit(); fit it on clean inputs, or set its cap")
    return value
