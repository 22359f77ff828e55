"""Check ``audit.json`` when it is read, so that no later code meets a value of another type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torpor.audits.conditions import RowKey
from torpor.audits.schema import (
    CLOCK,
    ELAPSED,
    METER,
    NATURAL,
    NMS,
    REQUIRED,
    SAMPLES,
    TARGET,
    UNIT,
    Kind,
    is_list,
    is_text,
    row_kinds,
)
from torpor.core.errors import DataError, UsageError
from torpor.core.measures import COST, Catalog, Headline, Measure
from torpor.core.records import CERTIFIED, RECORD
from torpor.core.rows import ROW

SIDES = {"text": 0, "wave": 1, "features": 2, "image": 3, "video": 4}
"""Numbers in the shape of one input, by kind; a text has none."""
_ABSENT = {
    "defense": "none",
    "tampering": "none",
    **dict.fromkeys(("attacker", "norm", "eps", "stage", "access", "tags")),
}
"""What older audits leave out."""


class DamagedAudit(DataError):  # noqa: N818 - names what the folder holds, as IncompleteAudit does
    """An audit holds values that no audit writes, or its parts contradict each other; nothing follows from it."""


def validated(raw: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Return the parts of ``audit.json`` with rows that have all keys which identify them.

    Args:
        raw: what was read.
        where: its folder, for messages.

    Raises:
        DamagedAudit: if some part is of another type than documented.
    """
    for part in ("config", "target", "environment"):
        _expect(isinstance(raw.get(part), dict), f"an object {part!r}", raw.get(part), where)
    for part in ("natural", "clock", "samples", "identity", "elapsed"):
        _expect(isinstance(raw.get(part), dict | None), f"an object or null {part!r}", raw.get(part), where)
    _expect(isinstance(raw.get("command"), str | None), "a text or null 'command'", raw.get("command"), where)
    target, environment, clock = raw["target"], raw["environment"], raw.get("clock")
    _check(target, TARGET, "the target", where, ("name",))
    for part, kinds in (("natural", NATURAL), ("samples", SAMPLES), ("elapsed", ELAPSED)):
        if raw.get(part) is not None:
            _check(raw[part], kinds, part, where, tuple(kinds)[:2])
    shape, sides = target.get("input_shape"), SIDES.get(str(target.get("inputs") or "image"))
    if "input_shape" in target and sides is not None:
        _expect(len(shape or ()) == sides, f"the shape of one {target.get('inputs') or 'image'}", shape, where)
    _meters(environment.get("meters"), where)
    uncovered = (raw.get("identity") or {}).get("uncovered", [])
    _expect(is_list(is_text)(uncovered), "a list of texts 'uncovered'", uncovered, where)
    summary = raw.get("summary")
    _expect(isinstance(summary, list), "a list of rows 'summary'", summary, where)
    assert isinstance(summary, list)
    measures = _measures(raw.get("measures"), where)
    kinds = row_kinds(measures)
    rows = [_row(row, kinds, f"row {number} of the summary", where) for number, row in enumerate(summary)]
    _names(measures, rows, where)
    units = _units(raw.get("units"), where)
    if clock is not None:
        _clock(clock, units.get("none", ()), where)
    currency = raw.get("currency")
    _expect(is_text(currency) and currency != "", "the name of a currency", currency, where)
    parts = ("config", "natural", "command", "samples", "identity", "elapsed", "currency")
    headlines = _headlines(raw.get("headlines"), where)
    own = {"measures": measures, "headlines": headlines, "units": units, "summary": rows, "clock": clock}
    whole = {**dict.fromkeys(("behavior", "mechanism", "rule")), **target}
    shared = {"target": whole, "environment": {"meters": None, **environment}}
    return {**{part: raw.get(part) for part in parts}, **own, **shared}


def _measures(raw: object, where: Path) -> tuple[Measure, ...]:
    """Return what the target's family measures."""
    _expect(isinstance(raw, list) and all(isinstance(each, dict) for each in raw), "a list 'measures'", raw, where)
    assert isinstance(raw, list)
    try:
        found = tuple(map(Measure.of, raw))
        Catalog((*RECORD, *CERTIFIED, *ROW, *found))
    except UsageError as error:
        raise DamagedAudit(f"{error}, in {where}") from error
    return found


def _headlines(raw: object, where: Path) -> tuple[Headline, ...]:
    """Return the figures that a report may begin with; older audits have cost alone."""
    if raw is None:
        return (COST,)
    _expect(isinstance(raw, list) and raw != [], "a list 'headlines'", raw, where)
    assert isinstance(raw, list)
    try:
        return tuple(map(Headline.of, raw))
    except UsageError as error:
        raise DamagedAudit(f"{error}, in {where}") from error


def _units(raw: object, where: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the units of the target by defense."""
    _expect(isinstance(raw, dict), "an object 'units'", raw, where)
    assert isinstance(raw, dict)
    for defense, units in raw.items():
        _expect(isinstance(units, list) and all(isinstance(each, dict) for each in units), "units", units, where)
        for unit in units:
            _check(unit, UNIT, f"a unit of {defense}", where, tuple(UNIT))
    return raw


def _row(row: object, kinds: Mapping[str, Kind], name: str, where: Path) -> dict[str, Any]:
    _expect(isinstance(row, dict), f"an object as {name}", row, where)
    assert isinstance(row, dict)
    _check(row, kinds, name, where, REQUIRED)
    whole = {**_ABSENT, **row}
    budget = (whole["norm"] is None) + (whole["eps"] is None)
    right = {"attack": (0,), "clean": (2,), "control": (0, 2)}[whole["kind"]]
    _expect(budget in right, f"a budget that fits the kind {whole['kind']!r} in {name}", whole["eps"], where)
    try:
        RowKey.of(whole)
    except DataError as error:
        raise DamagedAudit(f"{error}, in {where}") from error
    for key in ("slowdown_ci95", "latency_ci95"):
        if None in (whole.get(key) or ()):
            whole[key] = None
    return whole


def _names(measures: Sequence[Measure], rows: list[dict[str, Any]], where: Path) -> None:
    """Check that undefended rows have the same names in each measure by name; a defense may have units of its own."""
    for measure in measures:
        if measure.level != "row" or measure.dtype is not dict:
            continue
        named = [set(row[measure.name]) for row in rows if row["defense"] == "none" and row.get(measure.name)]
        wrong = next((names for names in named if names != named[0]), None)
        _expect(wrong is None, f"the same names in each {measure.name!r}", wrong, where)


def _clock(clock: Mapping[str, Any], units: Sequence[Mapping[str, Any]], where: Path) -> None:
    _check(clock, CLOCK, "clock", where)
    seconds = clock.get("seconds_per_unit")
    names = {unit["name"] for unit in units}
    _expect(not seconds or names <= set(seconds), "seconds of every unit", seconds, where)
    if seconds:
        _expect(is_text(clock.get("price_list")), "the name of a price list", clock.get("price_list"), where)
    if fit := clock.get("nms"):
        _check(fit, NMS, "nms", where, tuple(NMS))
        lengths = (len(fit["candidates"]), len(fit["seconds"]))
        _expect(lengths[0] == lengths[1] > 0, "as many candidates as seconds", lengths, where)


def _meters(meters: object, where: Path) -> None:
    _expect(isinstance(meters, dict | None), "an object or null 'meters'", meters, where)
    for name, meter in meters.items() if isinstance(meters, dict) else ():
        _expect(isinstance(meter, dict), f"an object of meter {name}", meter, where)
        _check(meter, METER, f"meter {name}", where, tuple(METER))


def _check(
    part: Mapping[str, Any], kinds: Mapping[str, Kind], name: str, where: Path, must: tuple[str, ...] = ()
) -> None:
    for key in must:
        _expect(key in part, f"{key!r} in {name}", "none", where)
    for key, (says, holds) in kinds.items():
        if key in part:
            _expect(holds(part[key]), f"{says} as {key!r} in {name}", part[key], where)


def _expect(holds: bool, what: str, found: object, where: Path) -> None:
    if not holds:
        shown = repr(found) if not isinstance(found, int) or abs(found) < 10**20 else "a number of many digits"
        got = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise DamagedAudit(f"expected {what}, got {got} in {where}; run the audit again")
