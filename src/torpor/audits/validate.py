"""Check ``audit.json`` when it is read, so that nothing behind it meets a value of another type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torpor.audits.schema import CLOCK, METER, NATURAL, NMS, REQUIRED, ROW, SAMPLES, TARGET, Kind, is_list, is_text
from torpor.core.errors import DataError

FAMILIES = {"D1": ("steps_mean", "kept_mean"), "D2": ("kept_mean",), "D3": ("steps_mean",)}
"""Keys that rows of this behavior have no value of."""
SIDES = {"text": 0, "wave": 1, "features": 2, "image": 3, "video": 4}
"""Numbers in the shape of one input, by kind; a text has none."""
_ABSENT = {"defense": "none", **dict.fromkeys(("attacker", "norm", "eps", "stage", "access", "tags"))}
"""What older audits leave out."""


class DamagedAudit(DataError):  # noqa: N818 - says what the folder holds, as IncompleteAudit does
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
    for part in ("natural", "clock", "samples", "identity"):
        _expect(isinstance(raw.get(part), dict | None), f"an object or null {part!r}", raw.get(part), where)
    _expect(isinstance(raw.get("command"), str | None), "a text or null 'command'", raw.get("command"), where)
    target, environment, clock = raw["target"], raw["environment"], raw.get("clock")
    _check(target, TARGET, "the target", where, ("name",))
    for part, kinds in (("natural", NATURAL), ("samples", SAMPLES)):
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
    rows = [_row(row, f"row {number} of the summary", where) for number, row in enumerate(summary)]
    _families(target, rows, where)
    if clock is not None:
        _clock(clock, target, where)
    parts = ("config", "natural", "command", "samples", "identity")
    return {**{part: raw.get(part) for part in parts}, **_rest(target, environment, clock, rows)}


def _rest(target: Any, environment: Any, clock: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401
    whole = {**dict.fromkeys(("behavior", "mechanism", "rule")), **target}
    return {"target": whole, "environment": {"meters": None, **environment}, "clock": clock, "summary": rows}


def _row(row: object, name: str, where: Path) -> dict[str, Any]:
    _expect(isinstance(row, dict), f"an object as {name}", row, where)
    assert isinstance(row, dict)
    _check(row, ROW, name, where, REQUIRED)
    whole = {**_ABSENT, **row}
    budget = (whole["norm"] is None) + (whole["eps"] is None)
    right = {"attack": (0,), "clean": (2,), "control": (0, 2)}[whole["kind"]]
    _expect(budget in right, f"a budget that fits the kind {whole['kind']!r} in {name}", whole["eps"], where)
    for key in ("slowdown_ci95", "latency_ci95"):
        if None in (whole.get(key) or ()):
            whole[key] = None
    return whole


def _families(target: Mapping[str, Any], rows: list[dict[str, Any]], where: Path) -> None:
    """Check that rows have the keys of this kind of target, and say the same of its units."""
    for key in FAMILIES.get(str(target.get("behavior")), ()):
        found = next((row[key] for row in rows if row.get(key) is not None), None)
        _expect(found is None, f"no {key!r} of a target of behavior {target['behavior']}", found, where)
    names = {unit["name"] for unit in target.get("units") or ()}
    if any(row.get("kept_mean") is not None for row in rows):
        _expect(bool(names), "the units of a target that finds objects", target.get("units"), where)
    free = [row for row in rows if row["defense"] == "none"]  # a defense may have units of its own
    stages = next((set(row["stage_flops_mean"]) for row in free if row.get("stage_flops_mean")), set())
    for row in free:
        for key, known in (("units_mean", names), ("stage_flops_mean", stages)):
            found = row.get(key)
            _expect(not found or set(found) == known, f"the same names in each {key!r}", found, where)
        if row.get("stage_flops_mean"):
            _expect(bool(row.get("units_mean")), "'units_mean' beside 'stage_flops_mean'", row.get("units_mean"), where)


def _clock(clock: Mapping[str, Any], target: Mapping[str, Any], where: Path) -> None:
    _check(clock, CLOCK, "clock", where)
    seconds = clock.get("seconds_per_unit")
    names = {unit["name"] for unit in target.get("units") or ()}
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
