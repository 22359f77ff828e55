"""Attack once, price anywhere: a finished audit under prices that were chosen after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.audits.conditions import COLUMNS as IDENTIFYING
from torpor.audits.conditions import RowKey
from torpor.audits.price_files import CURRENCY
from torpor.audits.priced_rows import Prices, Side, agrees, costs, counted, priced
from torpor.audits.read import Audit
from torpor.audits.repriced_keys import may_depend, repriced_row, repriced_target
from torpor.audits.schema import SCHEMA
from torpor.core.currency import symbol
from torpor.core.errors import DataError, UsageError
from torpor.core.prices import PriceList
from torpor.core.pricing import Pricing
from torpor.metrics.summary import PRICED

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (*PRICED, "cost_own")
"""Columns of records that are computed anew."""
NEEDED = ("sample", "work", "cost", "cost_own", "cost_static", "agreement", "rejected")
UNKNOWN = "an older torpor did not record how often each unit may run at most; run the audit again"


@dataclass(frozen=True, eq=False)
class Repriced(Audit):
    """An audit whose costs, and all that follows from them, are in another currency. No file holds it.

    Attributes:
        run: the audit as it was run.
        changed: columns of the records that have other values, in their order.
    """

    run: Audit | None = None
    changed: Mapping[str, pa.Array] = field(default_factory=dict)

    def load_records(self, columns: Sequence[str] | None = None, row: Mapping[str, Any] | None = None) -> pa.Table:
        """See :meth:`Audit.load_records`."""
        assert self.run is not None
        needed = None if columns is None else list(dict.fromkeys((*columns, *(IDENTIFYING if row is not None else ()))))
        table = self.run.load_records(needed)
        for name in set(table.column_names) & self.changed.keys():
            table = table.set_column(table.column_names.index(name), name, self.changed[name])
        found = table if row is None else table.filter(RowKey.of(row).matches())
        return found if columns is None else found.select(list(columns))


def repriced(audit: Audit, pricing: Pricing) -> Repriced:
    """Return an audit under other prices: work times prices, row by row, from what the run counted.

    What needs a run, as the benign percentile does, is null. Flags are those of the run but ``no-effect``, which is
    computed anew.

    Args:
        audit: what was read; nothing in its folder is changed.
        pricing: what one run of each unit costs.

    Raises:
        UsageError: if a unit has no price, or clean inputs cost nothing under these prices.
        DataError: if the records cannot be read, or hold other counts than they should.
    """
    import pyarrow as pa

    lists, name = _price_lists(audit, pricing)
    extra = ["work_static"] if audit.schema == SCHEMA else []
    if "exit" in audit.catalog.at("sample"):
        extra.append("exit")
    table = audit.load_records([*IDENTIFYING, *NEEDED, *extra])
    table = table.append_column("place", pa.array(np.arange(len(table))))
    columns = {key: np.full(len(table), np.nan) for key in COLUMNS}
    clean: dict[RowKey, Side] = {}
    why = "" if "work_static" in table.column_names else UNKNOWN
    parts = []
    for row in audit.summary:
        key = RowKey.of(row)
        own, prices = table.filter(key.matches()), _of(lists, key.condition.defense)
        if len(own) != row["n"]:
            raise DataError(f"expected {row['n']} records of {key}, got {len(own)}; run the audit again")
        parts.append((row, key, own, prices))
        if key.budget is None and key.attack == "clean":
            clean[key] = Side.of(own, prices, str(key))
        why = why or _unbounded(own, prices, str(key))
    summary = []
    for row, key, own, prices in parts:
        side = Side.of(own, prices, str(key))
        before, bare = (_clean(clean, each, side) for each in (key.clean, key.clean.undefended))
        static = None if why else priced(counted(own, "work_static", side.counts.shape[1], str(key)), prices.new)
        found = costs(before, bare, side, static)
        place = own["place"].to_numpy()
        for column, values in found.items():
            columns[column][place] = values
        summary.append(repriced_row(audit, row, own, side, found, lists, why))
    if np.isnan(columns["cost"]).any():
        raise DataError(f"expected records of the rows of the summary alone in {audit.folder}; run the audit again")
    arrays = {key: pa.array(values, from_pandas=True) for key, values in columns.items()}
    parts_of = audit.parts() | {
        "currency": lists["none"].new.currency,
        "summary": summary,
        "target": repriced_target(audit, table, lists["none"], why),
        "natural": _natural(audit.natural),
        "units": {
            defense: [{**unit, "price": price} for unit, price in zip(units, lists[defense].new.per_unit, strict=True)]
            for defense, units in audit.units.items()
        },
        "notes": (*audit.notes, *_notes(audit, name, pricing.origin, why)),
    }
    return Repriced(audit.folder, **parts_of, run=audit, changed=arrays | _nulls(audit, len(table)))


def _price_lists(audit: Audit, pricing: Pricing) -> tuple[dict[str, Prices], str]:
    """Return both price lists of each target, by defense, and the name of the new one."""
    if not audit.units.get("none"):
        raise DataError(
            f"expected the units of {audit.target['name']} in {audit.folder}, got none; run the audit again"
        )
    names = [unit["name"] for units in audit.units.values() for unit in units]
    own = tuple(float(unit["price"]) for units in audit.units.values() for unit in units)
    new = pricing.price_list(names, PriceList(audit.currency, own))
    if len(new.per_unit) != len(names):
        raise UsageError(
            f"expected {len(names)} prices of {new.name!r}, one for each unit, got {len(new.per_unit)}; correct the "
            "pricing"
        )
    if not CURRENCY.fullmatch(new.currency):
        raise UsageError(f"expected a price list whose name starts with a currency, got {new.name!r}; correct it")
    found, at = dict[str, Prices](), 0
    for defense, units in audit.units.items():
        here = slice(at, at + len(units))
        found[defense] = Prices(PriceList(audit.currency, own[here]), PriceList(new.name, new.per_unit[here]))
        at += len(units)
    return found, new.name


def _of(lists: Mapping[str, Prices], defense: str) -> Prices:
    """Return the prices of a defended target; an older audit names the units of the undefended one alone."""
    return lists.get(defense, lists["none"])


def _clean(clean: Mapping[RowKey, Side], key: RowKey, side: Side) -> Side:
    if key not in clean:
        raise DataError(f"expected a row of {key}, got none; run the audit again")
    return clean[key].matching(side.samples, str(key))


def _unbounded(table: pa.Table, prices: Prices, where: str) -> str:
    """Say why the static bound of a row is none in another currency; empty if it is one."""
    units = len(prices.own.per_unit)
    work, most = (counted(table, column, units, where) for column in ("work", "work_static"))
    agrees(most, prices.own, table["cost_static"].to_numpy(), where)
    return "" if (work <= most).all() else f"some unit of {where} ran more often than the static bound counts it"


def _natural(natural: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if natural is None:
        return None
    reason = "benign inputs have to be run again under other prices"
    return {**natural, "slowdown_p999": None, "cost_p999": None, "slowdown_reason": reason}


def _notes(audit: Audit, name: str, origin: str, why: str) -> list[str]:
    own = symbol(audit.currency)
    said = [f"Costs are work times prices, chosen after the run: {name}{f' ({origin})' if origin else ''}."]
    if PriceList(name, ()).currency != audit.currency:
        said.append(
            f"The attacks looked for inputs that are expensive in {own}: in this currency others may cost more, so "
            f"their figures are lower limits. All flags but no-effect are those of the run in {own}."
        )
    return [*said, *([f"The static bound and the headroom are not known in this currency: {why}."] if why else [])]


def _nulls(audit: Audit, count: int) -> dict[str, pa.Array]:
    """Return the columns of a plug-in's family that may depend on prices, without values."""
    import pyarrow as pa

    return {each.name: pa.nulls(count) for each in audit.measures if each.level == "sample" and may_depend(each)}
