"""Attack once, price anywhere: a finished audit under prices that were chosen after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from torpor.audits.conditions import COLUMNS as IDENTIFYING
from torpor.audits.conditions import RowKey
from torpor.audits.pricing import repriced_bounds
from torpor.audits.pricing.price_files import CURRENCY
from torpor.audits.pricing.priced_rows import Counts, Floats, Prices, Side, agrees, costs, counted, priced
from torpor.audits.pricing.repriced_bounds import certified_costs, certified_keys
from torpor.audits.pricing.repriced_keys import may_depend, repriced_row, repriced_target
from torpor.audits.read import SavedAudit
from torpor.audits.schema import SCHEMA
from torpor.core.errors import DataError, UsageError
from torpor.core.pricing import Pricing
from torpor.core.units import symbol
from torpor.core.work import PriceList
from torpor.metrics.tails import PRICED

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (*PRICED, "cost_own")
"""Columns of records that are recomputed."""
NEEDED = ("sample", "work", "cost", "cost_own", "cost_static", "agreement", "rejected")
SEARCHED = ("curve", "search_cost")
"""Columns whose costs are those that searches saw; how often each unit ran on their candidates is not recorded."""
UNKNOWN = "an older torpor did not record how often each unit may run at most; run the audit again"


@dataclass(frozen=True, eq=False)
class Repriced(SavedAudit):
    """An audit whose costs, and all that follows from them, are in another currency. No file holds it.

    Attributes:
        run: the audit as it was run.
        changed: columns of the records that have other values, in their order.
    """

    run: SavedAudit | None = None
    changed: Mapping[str, pa.Array] = field(default_factory=dict)

    @override
    def load_records(self, columns: Sequence[str] | None = None, row: Mapping[str, Any] | None = None) -> pa.Table:
        assert self.run is not None
        which = () if row is None else _which(self)
        table = self.run.load_records(None if columns is None else list(dict.fromkeys((*columns, *which))))
        for name in set(table.column_names) & self.changed.keys():
            table = table.set_column(table.column_names.index(name), name, self.changed[name])
        found = table if row is None else table.filter(RowKey.of(row).matches())
        return found if columns is None else found.select(list(columns))


def repriced(audit: SavedAudit, pricing: Pricing) -> Repriced:
    """Return an audit under other prices: work times prices, row by row, from what the run counted.

    What needs a run, as the benign percentile does, is null. Flags are those of the run but ``no-effect``, which is
    recomputed.

    Args:
        audit: what was read; nothing in its folder is changed.
        pricing: what one run of each unit costs.

    Raises:
        UsageError: if a unit has no price, clean inputs cost nothing under these prices, or they are those of the
            audit's clock, which has no valid ones.
        DataError: if the records cannot be read, or hold other counts than they should.
    """
    pricing = pricing.with_clock(audit.clock)
    lists, name = _price_lists(audit, pricing)
    table = _stored(audit)
    rows = [_Row(row, RowKey.of(row), table.filter(RowKey.of(row).matches()), lists) for row in audit.summary]
    why = next(filter(None, (row.unbounded() for row in rows)), "")
    clean = {row.key: row.side() for row in rows if row.key.attack == "clean"}
    bounded = repriced_bounds.COLUMNS if "certified_work" in table.column_names else ()
    columns, summary = {key: np.full(len(table), np.nan) for key in (*COLUMNS, *bounded)}, []
    for row in rows:
        side = row.side()
        before, bare = (_clean(clean, key, side) for key in (row.key.clean, row.key.clean.undefended))
        found = costs(before, bare, side, None if why else row.static())
        proven = certified_costs(row.table, found["cost_clean"], side, row.prices, str(row.key))
        for column, values in (found | proven).items():
            columns[column][row.table["place"].to_numpy()] = values
        said = repriced_row(audit, row.said, row.table, side, found, lists, why)
        summary.append(said | certified_keys(row.said, proven, found["cost"]))
    if np.isnan(columns["cost"]).any():
        raise DataError(f"expected records of the rows of the summary alone in {audit.folder}; run the audit again")
    same = all(each.own.per_unit == each.new.per_unit for each in lists.values())
    units = {
        defense: [{**unit, "price": price} for unit, price in zip(known, lists[defense].new.per_unit, strict=True)]
        for defense, known in audit.units.items()
    }
    parts = {
        "currency": lists["none"].new.currency,
        "summary": summary,
        "target": audit.target if same else repriced_target(audit, table, lists["none"], why),
        "natural": audit.natural if same else _natural(audit.natural),
        "units": units,
        "notes": (*audit.notes, *_notes(audit, name, pricing.origin, why, same=same)),
    }
    return Repriced(audit.folder, **(audit.parts() | parts), run=audit, changed=_arrays(audit, columns, same=same))


@dataclass(frozen=True, eq=False)
class _Row:
    """One row of the summary.

    Attributes:
        said: by the run.
        key: of the row.
        table: its records.
        lists: prices by defense.
    """

    said: Mapping[str, Any]
    key: RowKey
    table: pa.Table
    lists: Mapping[str, Prices]

    @property
    def prices(self) -> Prices:
        """Of its units; an older audit names those of the undefended target alone."""
        return self.lists.get(self.key.condition.defense, self.lists["none"])

    def side(self) -> Side:
        """Return its records under the new prices.

        Raises:
            DataError: if some are missing, or they hold other counts than they should.
        """
        if len(self.table) != self.said["n"]:
            raise DataError(
                f"expected {self.said['n']} records of {self.key}, got {len(self.table)}; run the audit again"
            )
        return Side.of(self.table, self.prices, str(self.key))

    def unbounded(self) -> str:
        """Say why its static bound is none in another currency; empty if it is one."""
        if "work_static" not in self.table.column_names:
            return UNKNOWN
        work, most = self._counted("work"), self._counted("work_static")
        agrees(most, self.prices.own, self.table["cost_static"].to_numpy(), str(self.key))
        return "" if (work <= most).all() else f"some unit of {self.key} ran more often than the static bound counts it"

    def static(self) -> Floats:
        """Return the static bound of each input under the new prices."""
        return priced(self._counted("work_static"), self.prices.new)

    def _counted(self, column: str) -> Counts:
        return counted(self.table, column, len(self.prices.own.per_unit), str(self.key))


def _which(audit: SavedAudit) -> tuple[str, ...]:
    """Return the columns that tell which row a record is of."""
    return (*IDENTIFYING, "tampering") if audit.schema == SCHEMA else IDENTIFYING


def _stored(audit: SavedAudit) -> pa.Table:
    """Return the records that prices are put to, with the place of each."""
    import pyarrow as pa

    wanted = [*_which(audit), *NEEDED, *(["work_static"] if audit.schema == SCHEMA else [])]
    wanted += [name for name in repriced_bounds.NEEDED if name in audit.columns]
    if "exit" in audit.catalog.at("sample"):
        wanted.append("exit")
    table = audit.load_records(wanted)
    return table.append_column("place", pa.array(np.arange(len(table))))


def _arrays(audit: SavedAudit, columns: Mapping[str, Floats], *, same: bool) -> dict[str, pa.Array]:
    """Return columns of records; without values those that may depend on prices: of plug-ins' families, of searches.

    Args:
        audit: as it was run.
        columns: that were recomputed.
        same: whether prices are those of the run, which leave curves as they are.
    """
    import pyarrow as pa

    found = {key: pa.array(values, from_pandas=True) for key, values in columns.items()}
    unknown = (each.name for each in audit.measures if each.level == "sample" and may_depend(each))
    return found | {name: pa.nulls(len(columns["cost"])) for name in (*unknown, *(() if same else SEARCHED))}


def _price_lists(audit: SavedAudit, pricing: Pricing) -> tuple[dict[str, Prices], str]:
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


def _clean(clean: Mapping[RowKey, Side], key: RowKey, side: Side) -> Side:
    if key not in clean:
        raise DataError(f"expected a row of {key}, got none; run the audit again")
    return clean[key].matching(side.samples, str(key))


def _natural(natural: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if natural is None:
        return None
    reason = "benign inputs have to be run again under other prices"
    return {**natural, "slowdown_p999": None, "cost_p999": None, "slowdown_reason": reason}


def _notes(audit: SavedAudit, name: str, origin: str, why: str, *, same: bool) -> list[str]:
    own = symbol(audit.currency)
    said = [f"Costs are work times prices, chosen after the run: {name}{f' ({origin})' if origin else ''}."]
    if not same:
        said.append(
            f"The attacks looked for inputs that are expensive in {own}: under these prices others may cost "
            f"more, so their figures are lower limits. All flags but no-effect are those of the run in {own}."
        )
    return [*said, *([f"The static bound and the headroom are not known in this currency: {why}."] if why else [])]
