"""Keys of a summary row, and of the target, under other prices than those of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.audits.conditions import NON_ADAPTIVE
from torpor.audits.pricing.priced_rows import Floats, Prices, Side, counted, priced
from torpor.audits.read import SavedAudit
from torpor.audits.verdict.gate_grammar import known
from torpor.core.criteria import Evidence, ReachesStaticBound, parse_criterion, success_rate
from torpor.core.measures import Measure
from torpor.metrics.degradation import degradation
from torpor.metrics.efficacy import exit_summary
from torpor.metrics.outputs import stage_costs
from torpor.metrics.tails import priced_summary

if TYPE_CHECKING:
    import pyarrow as pa

EFFICACY = ("efficacy_eec", "efficacy_step")
STAGES = "stage_cost_mean"
STAYS = ("identity", "text", "flag", "count", "distance", "time", "energy", "memory")
"""Dimensions of what does not depend on prices, whatever family measures it."""
_REASON = "the records do not say how it depends on prices"
_NO_EFFECT = "no-effect"


def may_depend(measure: Measure) -> bool:
    """Tell whether the value of a measure of a family may depend on prices.

    >>> may_depend(Measure("layers", "row", "count", "layers", "Layers that ran."))
    False
    """
    if measure.name in (*EFFICACY, STAGES):
        return True
    ours = known().at(measure.level).get(measure.name)
    own = ours is not None and (ours.dimension, ours.dtype) == (measure.dimension, measure.dtype)
    return not own and measure.dimension not in STAYS


def repriced_row(
    audit: SavedAudit,
    row: Mapping[str, Any],
    table: pa.Table,
    side: Side,
    found: Mapping[str, Floats],
    prices: Mapping[str, Prices],
    why: str,
) -> dict[str, Any]:
    """Return a summary row under other prices; null, and a reason beside it, where the records do not tell.

    Args:
        audit: as it was run.
        row: as it was run.
        table: records of the row, as they were run.
        side: counts of the row.
        found: the columns that depend on prices.
        prices: of the undefended target (``"none"``) and of each defended one.
        why: why the static bound is unknown; empty if it is known.
    """
    rejected = np.zeros(len(table), dtype=bool) if side.rejected is None else side.rejected
    agrees = table["agreement"].to_numpy(zero_copy_only=False).astype(bool)
    was, now = (_evidence(columns, agrees) for columns in (_columns(table), found))
    new: dict[str, Any] = priced_summary(found)
    if row.get("success_rate") is not None:
        new["success_rate"] = _success(row, was, now, rejected, why)
    if row.get("changed_cost_ratio") is not None:
        unknown = np.full(len(table), np.nan)
        new["changed_cost_ratio"] = degradation(agrees & ~rejected, found["cost_clean"], unknown, unknown).cost_ratio
    if row.get("no_headroom_rate") is not None:
        same = not why and np.array_equal(was.clean >= was.static, now.clean >= now.static)
        new["no_headroom_rate"] = row["no_headroom_rate"] if same else None
    new["flags"] = _flags(row, bool((now.cost > now.clean).any()))
    new |= _of_family(audit, row, table, side, prices)
    reasons = {
        f"{key.split('_')[0]}_reason": why if why and key in ("cost_static", "headroom_mean") else _REASON
        for key, value in new.items()
        if value is None and row.get(key) is not None and key != "no_headroom_rate"
    }
    if why and row.get("headroom_mean") is not None:
        del new["headroom_mean"]  # null would say that no sample had headroom
        reasons["headroom_reason"] = why
        row = {key: value for key, value in row.items() if key != "headroom_mean"}
    return {**row, **new, **{key: reason for key, reason in reasons.items() if row.get(key) is None}}


def repriced_target(audit: SavedAudit, table: pa.Table, prices: Prices, why: str) -> dict[str, Any]:
    """Return what an audit records about its target under other prices.

    Args:
        audit: as it was run.
        table: all records.
        prices: of the undefended target.
        why: why the static bound is unknown; empty if it is known.
    """
    new: dict[str, Any] = {}
    if "static_cost" in audit.target:
        new["static_cost"] = None if why else _static_cost(audit, table, prices)
    if audit.target.get("exit_costs"):
        costs = exit_costs(audit, prices)
        new["exit_costs"] = None if costs is None or np.isnan(costs).any() else costs.tolist()
    return {**audit.target, **new}


def exit_costs(audit: SavedAudit, prices: Prices) -> Floats | None:
    """Return the cumulative cost at each exit as a share of the whole network's, ``[K]``; None if it is unknown.

    It is known where the shares of the run are the sums of the units' prices, one unit to an exit.
    """
    known = audit.target.get("exit_costs") or []
    own, new = (np.cumsum(each.per_unit) for each in (prices.own, prices.new))
    if len(known) != len(own) or not own[-1] > 0 or not np.allclose(known, own / own[-1], rtol=1e-9, atol=0):
        return None
    return np.asarray(new / new[-1] if new[-1] > 0 else np.full(len(new), np.nan), dtype=np.float64)


def _static_cost(audit: SavedAudit, table: pa.Table, prices: Prices) -> float | None:
    """Return the bound of all inputs; None unless a record has it, told by the prices of the run."""
    known = audit.target.get("static_cost")
    bare = table.filter([name == "none" for name in table["defense"].to_pylist()])
    unpriced = any(own <= 0 < new for own, new in zip(prices.own.per_unit, prices.new.per_unit, strict=True))
    if known is None or unpriced or not len(bare):
        return None
    most = np.unique(counted(bare, "work_static", len(prices.own.per_unit), "the target"), axis=0)
    cost = priced(most, prices.own)
    at = int(cost.argmax())
    return float(priced(most, prices.new)[at]) if np.isclose(cost[at], known, rtol=1e-9, atol=0) else None


def _columns(table: pa.Table) -> dict[str, Floats]:
    return {
        name: table[name].to_numpy(zero_copy_only=False).astype(np.float64)
        for name in ("cost", "cost_own", "cost_static")
    }


def _evidence(columns: Mapping[str, Floats], agrees: np.ndarray[Any, np.dtype[np.bool_]]) -> Evidence:
    return Evidence(columns["cost"], columns["cost_own"], columns["cost_static"], agrees)


def _success(
    row: Mapping[str, Any], was: Evidence, now: Evidence, rejected: np.ndarray[Any, np.dtype[np.bool_]], why: str
) -> float | None:
    """Return the share of successes; None unless the criterion, as it is written, explains what the run counted."""
    text = str(row.get("success_criterion") or "")
    criterion = parse_criterion(text)
    if criterion is None or (why and str(ReachesStaticBound()) in text):
        return None
    explained = success_rate(criterion, was, rejected) == row["success_rate"]
    return success_rate(criterion, now, rejected) if explained else None


def _flags(row: Mapping[str, Any], costlier: bool) -> list[str]:
    """Return the flags of a row, ``no-effect`` by the new costs."""
    flags = list(row["flags"])
    if row["kind"] != "attack" or row.get("attacker") == NON_ADAPTIVE or "nothing-to-measure" in flags:
        return flags
    return ([] if costlier else [_NO_EFFECT]) + [flag for flag in flags if flag != _NO_EFFECT]


def _of_family(
    audit: SavedAudit, row: Mapping[str, Any], table: pa.Table, side: Side, prices: Mapping[str, Prices]
) -> dict[str, Any]:
    """Return the keys of the target's family that may depend on prices, None where the records do not tell."""
    names = [each.name for each in audit.measures if each.level == "row" and may_depend(each)]
    new: dict[str, Any] = {name: None for name in names if row.get(name) is not None}
    costs = exit_costs(audit, prices["none"])
    if costs is not None and "exit" in table.column_names:
        exits = table["exit"].to_numpy()
        was, now = (exit_summary(exits, each) for each in (audit.target["exit_costs"], costs))
        new |= {key: now[key] for key in EFFICACY if key in new and _close(row[key], was[key])}
    if STAGES in new:
        defense = row["defense"] if row["defense"] in audit.units else "none"
        new[STAGES] = _stages(row, side, [unit["stage"] or "" for unit in audit.units[defense]], prices[defense])
    return new


def _close(said: object, found: object) -> bool:
    return isinstance(said, float) and isinstance(found, float) and math.isclose(said, found, rel_tol=1e-9)


def _stages(row: Mapping[str, Any], side: Side, stages: Sequence[str], prices: Prices) -> dict[str, float] | None:
    """Return the cost of each stage; None unless the prices of the run explain what the run recorded."""
    means = side.counts.astype(np.float64).mean(0).tolist()
    was, now = (stage_costs(means, list(zip(stages, each.per_unit, strict=True))) for each in (prices.own, prices.new))
    known = row[STAGES]
    named = was.keys() == known.keys()
    explained = named and np.allclose([known[stage] for stage in was], list(was.values()), rtol=1e-9, atol=0)
    return now if explained else None
