"""Run natural inputs as deployed, and keep what each did and what it may have done at most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torpor.audits.mining.inputs import NaturalInputs
from torpor.audits.run.job import deterministic
from torpor.core.work import PriceList
from torpor.targets.base import Target

Tell = Callable[[int, int], None]
"""Called with how many inputs were run, and how many will be."""


@dataclass(frozen=True, eq=False)
class MeasuredWork:
    """What inputs did.

    Attributes:
        rows: numbers of the inputs, int64 ``[N]``.
        counts: of each unit, int64 ``[N, U]``.
        prices: of one run of each unit, float64 ``[U]``.
        bounds: what each of them may have cost at most, by structure and caps, float64 ``[N]``; NaN where unknown.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    prices: NDArray[np.float64]
    bounds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cost(self) -> NDArray[np.float64]:
        """Of each input, float64 ``[N]``."""
        return np.asarray(self.counts @ self.prices, dtype=np.float64)

    def cost_of(self, position: int) -> float:
        """Return what one of them cost."""
        return float(self.counts[position] @ self.prices)

    def __add__(self, other: MeasuredWork) -> MeasuredWork:
        """Return what both measured, these inputs first."""
        parts: list[NDArray[Any]] = [
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("rows", "counts", "bounds")
        ]
        return MeasuredWork(parts[0], parts[1], self.prices, parts[2])


def measured(
    target: Target,
    inputs: NaturalInputs,
    rows: Sequence[int],
    prices: PriceList,
    batch_size: int,
    tell: Tell = lambda done, total: None,
) -> MeasuredWork:
    """Run inputs as deployed.

    Args:
        target: what runs.
        inputs: of which some are run.
        rows: their numbers.
        prices: of the target's units.
        batch_size: inputs per batch.
        tell: called after each batch.

    Raises:
        DataError: if an input cannot be read any more.
    """
    units = len(target.units)
    counts, bounds, done = [np.zeros((0, units), np.int64)], [np.zeros(0)], 0
    with deterministic():
        for first in range(0, len(rows), batch_size):
            chunk = rows[first : first + batch_size]
            samples = target.read(inputs.read(chunk))
            counts.append(target.run(samples).work.counts.cpu().numpy())
            bounds.append(prices.cost(target.max_work(samples)).cpu().numpy())
            done += len(chunk)
            tell(done, len(rows))
    return MeasuredWork(
        np.asarray(rows, dtype=np.int64),
        np.concatenate(counts),
        np.asarray(prices.per_unit, dtype=np.float64),
        np.concatenate(bounds),
    )
