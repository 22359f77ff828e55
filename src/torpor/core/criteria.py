"""Criteria: what counts as success for an attacker. They compose with ``&`` and ``|``."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from torpor.core.errors import UsageError

_SLOWDOWN = re.compile(r"slowdown >= ([0-9]+(?:\.[0-9]+)?(?:e\+[0-9]+)?)")
_LONGEST = 200
"""Longer texts are no criteria that anybody wrote."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a criterion judges, one entry per sample.

    Attributes:
        cost: of the attacked input, float ``[N]`` in any unit.
        clean: cost of the clean input, in the same unit.
        static: static bound, in the same unit.
        agrees: whether the output agrees with the clean one, bool ``[N]``.
    """

    cost: NDArray[np.float64]
    clean: NDArray[np.float64]
    static: NDArray[np.float64]
    agrees: NDArray[np.bool_]


class Criterion(ABC):
    """A yes or no per sample.

    >>> one = np.array([1.0])
    >>> evidence = Evidence(cost=3 * one, clean=one, static=4 * one, agrees=np.array([False]))
    >>> Slowdown(2)(evidence).tolist(), (Slowdown(2) & PreservesPrediction())(evidence).tolist()
    ([True], [False])
    """

    @abstractmethod
    def __call__(self, evidence: Evidence) -> NDArray[np.bool_]:
        """Return whether each sample meets the criterion, bool ``[N]``."""

    def __and__(self, other: Criterion) -> Criterion:
        return _Both(self, other)

    def __or__(self, other: Criterion) -> Criterion:
        return _Either(self, other)


@dataclass(frozen=True)
class Slowdown(Criterion):
    """The input costs at least ``ratio`` times what its clean input costs."""

    ratio: float

    def __post_init__(self) -> None:
        if not self.ratio >= 1:
            raise UsageError(f"expected a slowdown of 1 or more, got {self.ratio}")

    @override
    def __call__(self, evidence: Evidence) -> NDArray[np.bool_]:
        return evidence.cost >= self.ratio * evidence.clean

    def __str__(self) -> str:
        return f"slowdown >= {self.ratio:g}"


@dataclass(frozen=True)
class ReachesStaticBound(Criterion):
    """The input costs as much as structure and caps allow."""

    @override
    def __call__(self, evidence: Evidence) -> NDArray[np.bool_]:
        return evidence.cost >= evidence.static

    def __str__(self) -> str:
        return "static bound reached"


@dataclass(frozen=True)
class PreservesPrediction(Criterion):
    """The output agrees with that of the clean input."""

    @override
    def __call__(self, evidence: Evidence) -> NDArray[np.bool_]:
        return evidence.agrees

    def __str__(self) -> str:
        return "prediction kept"


def parse_criterion(text: str) -> Criterion | None:
    """Return the criterion that is written so; None if it is none of torpor's own.

    >>> criterion = (Slowdown(2) & PreservesPrediction()) | ReachesStaticBound()
    >>> parse_criterion(str(criterion)) == criterion, parse_criterion("a new one")
    (True, None)
    """
    if len(text) > _LONGEST:
        return None
    if ratio := _SLOWDOWN.fullmatch(text):
        return Slowdown(float(ratio[1])) if float(ratio[1]) >= 1 else None
    for known in (ReachesStaticBound(), PreservesPrediction()):
        if text == str(known):
            return known
    inside = text[1:-1] if text[:1] + text[-1:] == "()" else ""
    for word, kind in ((" and ", _Both), (" or ", _Either)):
        for found in re.finditer(word, inside):
            left, right = parse_criterion(inside[: found.start()]), parse_criterion(inside[found.end() :])
            if left is not None and right is not None:
                return kind(left, right)
    return None


def success_rate(criterion: Criterion, evidence: Evidence, rejected: NDArray[np.bool_]) -> float:
    """Return the share of samples that meet a criterion; a rejected input is no success.

    >>> one = np.ones(2)
    >>> evidence = Evidence(cost=3 * one, clean=one, static=4 * one, agrees=np.array([True, True]))
    >>> success_rate(Slowdown(2), evidence, np.array([False, True]))
    0.5
    """
    return float((criterion(evidence) & ~rejected).mean())


@dataclass(frozen=True)
class _Both(Criterion):
    left: Criterion
    right: Criterion

    def __call__(self, evidence: Evidence) -> NDArray[np.bool_]:
        return self.left(evidence) & self.right(evidence)

    def __str__(self) -> str:
        return f"({self.left} and {self.right})"


@dataclass(frozen=True)
class _Either(Criterion):
    left: Criterion
    right: Criterion

    def __call__(self, evidence: Evidence) -> NDArray[np.bool_]:
        return self.left(evidence) | self.right(evidence)

    def __str__(self) -> str:
        return f"({self.left} or {self.right})"
