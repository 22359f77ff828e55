"""What bounds certify under other prices than those of the run, from the counts that they allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torpor.audits.pricing.priced_rows import Floats, Prices, Side, agrees, counted, priced
from torpor.core import rows
from torpor.metrics.certified import certified_summary
from torpor.metrics.slowdown import slowdown

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = ("certified_work", "certified_cost")
COLUMNS = ("certified_cost", "certified_slowdown")
"""Columns of the records that are computed anew."""


def certified_costs(table: pa.Table, clean: Floats, side: Side, prices: Prices, where: str) -> dict[str, Floats]:
    """Return the certified columns of a row; empty where nothing is certified, or not in this currency.

    A bound is one of costs. Where some unit ran more often than the bound counts it, other prices could turn it around.

    Args:
        table: records of the row, as they were run.
        clean: cost of the clean inputs under the new prices.
        side: counts of the row.
        prices: of its units.
        where: the row in words, for messages.

    Raises:
        DataError: if the counts do not explain the certified cost of the run.
    """
    if not set(NEEDED) <= set(table.column_names) or table["certified_cost"].null_count:
        return {}
    counts = counted(table, "certified_work", len(prices.own.per_unit), where)
    agrees(counts, prices.own, table["certified_cost"].to_numpy(), where)
    if (side.counts > counts).any():
        return {}
    cost = priced(counts, prices.new)
    return {"certified_cost": cost, "certified_slowdown": slowdown(cost, clean)}


def certified_keys(row: Mapping[str, Any], found: Mapping[str, Floats], cost: Floats) -> dict[str, Any]:
    """Return the keys of a summary row that tell what is certified under the new prices.

    Args:
        row: as it was run.
        found: what :func:`certified_costs` returned.
        cost: of the inputs under the new prices.
    """
    if row.get("certified_cost_mean") is None:
        return {}
    if found:
        return {**certified_summary(found["certified_cost"], found["certified_slowdown"], cost)}
    why = "some unit ran more often than the bound counts it, so that it is none in this currency"
    return {**dict.fromkeys(each.name for each in rows.CERTIFIED), "certified_reason": why}
