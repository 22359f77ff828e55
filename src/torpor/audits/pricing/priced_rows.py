"""What the records of one row cost under other prices, from their counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.core.errors import DataError
from torpor.core.work import PriceList
from torpor.metrics.headroom import SLACK, headroom, taken
from torpor.metrics.slowdown import slowdown

if TYPE_CHECKING:
    import pyarrow as pa

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
Booleans = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Prices:
    """Two price lists of the units of one target, perhaps defended.

    Attributes:
        own: that the audit was run with.
        new: that was chosen afterwards.
    """

    own: PriceList
    new: PriceList


@dataclass(frozen=True, eq=False)
class Side:
    """Records of one row, as far as cost goes, in the order of their samples.

    Attributes:
        samples: index of each sample, int64 ``[N]``.
        counts: how often each unit ran, int64 ``[N, U]``.
        cost: under the new prices, float64 ``[N]``.
        rejected: whether the input was rejected, bool ``[N]``; None where nothing rejects inputs.
    """

    samples: Counts
    counts: Counts
    cost: Floats
    rejected: Booleans | None

    @classmethod
    def of(cls, table: pa.Table, prices: Prices, where: str) -> Side:
        """Price the records of a row.

        Args:
            table: of the row.
            prices: of its units.
            where: the row in words, for messages.

        Raises:
            DataError: if the counts do not explain the cost that the run recorded, so that it is unknown which units
                they are of.
        """
        samples = table["sample"].to_numpy()
        if len(np.unique(samples)) < len(samples):
            raise DataError(f"expected each sample once in the records of {where}, got some twice; run the audit again")
        counts = counted(table, "work", len(prices.own.per_unit), where)
        agrees(counts, prices.own, table["cost"].to_numpy(zero_copy_only=False), where)
        rejects = table["rejected"].null_count == 0
        rejected = table["rejected"].to_numpy(zero_copy_only=False).astype(bool) if rejects else None
        return cls(samples, counts, priced(counts, prices.new), rejected)

    def matching(self, samples: Counts, where: str) -> Side:
        """Return the same in the order of ``samples``.

        Raises:
            DataError: if one of them is missing.
        """
        place = {int(sample): at for at, sample in enumerate(self.samples)}
        try:
            order = np.array([place[int(sample)] for sample in samples], dtype=np.int64)
        except KeyError as error:
            raise DataError(
                f"expected a record of {where} for each sample, got none for sample {error}; run the audit again"
            ) from error
        return Side(
            samples, self.counts[order], self.cost[order], None if self.rejected is None else self.rejected[order]
        )


def priced(counts: Counts, prices: PriceList) -> Floats:
    """Return what each sample costs, float64 ``[N]``: counts times prices, as :meth:`Work.cost`.

    Products are added in the order of the units, so that equal counts cost the same to the last bit, and more counts no
    less, whatever the prices: a matrix product may round each row in another way.
    """
    cost = np.zeros(len(counts))
    for count, price in zip(counts.T, prices.per_unit, strict=True):
        cost += count * price
    return cost


def counted(table: pa.Table, column: str, units: int, where: str) -> Counts:
    """Return a column of counts, int64 ``[N, U]``.

    Raises:
        DataError: if they are of another number of units.
    """
    rows = table[column].to_pylist()
    lengths = {-1 if row is None else len(row) for row in rows}
    if lengths != {units}:
        raise DataError(
            f"expected counts of {units} units in the records of {where}, got {', '.join(map(str, sorted(lengths)))}; "
            "run the audit again with this version, which records the units of each defense"
        )
    return np.array(rows, dtype=np.int64).reshape(len(rows), units)


def agrees(counts: Counts, prices: PriceList, cost: Floats, where: str) -> None:
    """Check that counts times the prices of the run are the cost that it recorded.

    Raises:
        DataError: if not.
    """
    if not np.allclose(priced(counts, prices), cost, rtol=SLACK, atol=0):
        raise DataError(
            f"expected counts that explain the cost in the records of {where}, got others; the file is damaged, or the "
            "audit does not name these units: run it again"
        )


def costs(own: Side, clean: Side, side: Side, static: Floats | None) -> dict[str, Floats]:
    """Return the columns of records that depend on prices, NaN where they are not defined.

    Args:
        own: the clean inputs under the same condition.
        clean: the clean inputs without any defense.
        side: the inputs themselves.
        static: bound of each input; None if it is unknown in this currency.

    Raises:
        UsageError: if a clean input costs nothing.
    """
    unknown = np.full(len(side.cost), np.nan)
    share = unknown
    if static is not None:
        # the bound of a shorter text may be below the cost of its clean version; then there is no room
        before = np.where(own.cost > static * (1 + SLACK), static, own.cost)
        share = taken(headroom(side.cost, before, static), own.rejected, side.rejected)
    return {
        "cost_clean": clean.cost,
        "cost_own": own.cost,
        "cost": side.cost,
        "cost_static": unknown if static is None else static,
        "slowdown": slowdown(side.cost, clean.cost),
        "headroom": share,
    }
