"""Embedded Runge-Kutta pairs: the numbers that make one solver differ from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tableau:
    """An embedded Runge-Kutta pair whose last slope is the first of the next step.

    Attributes:
        name: as torpor and torchdiffeq call it.
        order: of the pair, which the controller's exponent follows from.
        nodes: when each slope after the first is taken, as a share of the step.
        weights: of the slopes so far, for the state at each node.
        solution: weights of all slopes, for the state at the end of the step; None if that is the state at the last
            node.
        error: weights of all slopes, for the estimate of the error.
        middle: weights of all slopes, for the state halfway, from which the last step is interpolated.
    """

    name: str
    order: int
    nodes: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    solution: tuple[float, ...] | None
    error: tuple[float, ...]
    middle: tuple[float, ...]

    @property
    def evaluations(self) -> int:
        """How often one attempted step evaluates the right-hand side."""
        return len(self.nodes)


DOPRI5 = Tableau(
    "dopri5",
    5,
    (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    None,
    (
        35 / 384 - 1951 / 21600,
        0,
        500 / 1113 - 22642 / 50085,
        125 / 192 - 451 / 720,
        -2187 / 6784 + 12231 / 42400,
        11 / 84 - 649 / 6300,
        -1 / 60,
    ),
    (
        6025192743 / 30085553152 / 2,
        0,
        51252292925 / 65400821598 / 2,
        -2691868925 / 45128329728 / 2,
        187940372067 / 1594534317056 / 2,
        -1776094331 / 19743644256 / 2,
        11237099 / 235043384 / 2,
    ),
)
"""Dormand and Prince's pair of orders 5 and 4 (1980), with Shampine's error estimate."""
ADAPTIVE_HEUN = Tableau("adaptive_heun", 2, (1.0,), ((1.0,),), (0.5, 0.5), (0.5, -0.5), (0.5, 0.0))
"""Heun's method with Euler's for the error; as in torchdiffeq, a step begins with the slope that ended the last one."""

TABLEAUS: Mapping[str, Tableau] = {each.name: each for each in (DOPRI5, ADAPTIVE_HEUN)}
