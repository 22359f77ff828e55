"""The verdict on a finished audit: gates over its rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from torpor.audits.conditions import describe_row
from torpor.audits.evidence import notes, used_flags, weakness
from torpor.audits.integrity import doubt
from torpor.audits.read import SavedAudit
from torpor.audits.verdict.gate_grammar import Gate
from torpor.core import records, rows
from torpor.core.errors import did_you_mean
from torpor.core.rows import UNBOUND

LATENCY_KEYS = frozenset({"latency_s_p50", "latency_slowdown", "i_latency"})
_REASONS = {
    "latency_s_p50": "latency_reason",
    "latency_slowdown": "latency_reason",
    "i_latency": "latency_reason",
    "energy_j": "energy_reason",
    "memory_bytes": "memory_reason",
}


CERTIFIED = frozenset(each.name for each in (*records.CERTIFIED, *rows.CERTIFIED))


class Verdict(StrEnum):
    """Outcome of one check or of all; only a pass is true."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> int:
        """Exit code of the command line: 0, 10 or 11.

        >>> [verdict.exit_code for verdict in Verdict]
        [0, 10, 11]
        """
        return {"pass": 0, "fail": 10, "inconclusive": 11}[self.value]

    def __bool__(self) -> bool:
        return self is Verdict.PASS


@dataclass(frozen=True)
class CheckResult:
    """One check on one row of an audit; only one that passed is true.

    Attributes:
        check: what had to hold, such as ``"p95(slowdown) < 1.5"``.
        rule: what was checked, without the limit; the same from run to run, such as ``"gate/p95(slowdown)"``.
        target: name of the audited target.
        row: attack and budget in words; empty if no row matched.
        value: what was measured, in the metric's own unit; None if nothing was.
        shown: ``value`` in the unit of the check.
        limit: operator and limit in the unit of the check.
        verdict: whether the check held.
        reason: why the verdict is inconclusive; empty otherwise.
        tags: taxonomy identifiers of the row, by taxonomy.
        accepted: flags that would have made a pass inconclusive, had the user not accepted them by name.
        notes: what else a reader of the verdict must know, in words.
        warns: whether a fail is only reported, and does not decide the verdict of all.
    """

    check: str
    rule: str
    target: str
    row: str
    value: float | None
    shown: str
    limit: str
    verdict: Verdict
    reason: str = ""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warns: bool = False

    def __bool__(self) -> bool:
        return self.verdict is Verdict.PASS


def row_tags(row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the taxonomy identifiers of a summary row.

    >>> row_tags({"tags": {"owasp": ["LLM06:2026"], "cwe": []}})
    {'owasp': ('LLM06:2026',)}
    """
    tags = row.get("tags")
    if not isinstance(tags, Mapping):
        return {}
    return {str(name): tuple(map(str, found)) for name, found in tags.items() if isinstance(found, list) and found}


def scalar(row: Mapping[str, Any], key: str) -> float | None:
    """Return a number of a summary row; None where it was not measured.

    >>> scalar({"utility": 0.5}, "utility"), scalar({"energy_j": None}, "energy_j")
    (0.5, None)
    """
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def overall(results: Sequence[CheckResult]) -> Verdict:
    """Sum up: a fail beats an inconclusive check, which beats a pass. No checks at all are inconclusive.

    Checks that only warn are left out, unless there are no others: then all is well.

    >>> overall([]).value
    'inconclusive'
    """
    verdicts = {result.verdict for result in results if not result.warns}
    if results and not verdicts:
        return Verdict.PASS
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def doubted(results: Sequence[CheckResult], reason: str) -> list[CheckResult]:
    """Return results in which nothing passes if there is a reason to doubt; what fails still fails."""
    unsure: dict[str, Any] = {"verdict": Verdict.INCONCLUSIVE, "reason": reason}
    return [replace(each, **unsure) if reason and each.verdict is Verdict.PASS else each for each in results]


def undecided(gate: Gate, reason: str, target: str = "") -> CheckResult:
    """Return the inconclusive result of a gate that has no row to be evaluated on."""
    rule, limit = f"gate/{gate.measure}", f"{gate.op} {gate.show(gate.limit)}"
    return CheckResult(str(gate), rule, target, "", None, "not measured", limit, Verdict.INCONCLUSIVE, reason)


def evaluate_gates(audit: SavedAudit, gates: Sequence[Gate], accepted: Collection[str] = ()) -> list[CheckResult]:
    """Evaluate each gate on each row that it selects: every attack, or the rows of its selector.

    A gate is inconclusive where its value was not measured, its latency is not valid, its records are incomplete, no
    row matches, or it passes although the attack did not work (:data:`~torpor.audits.evidence.WEAK_FLAGS`) or the audit
    may not be what was written (:func:`~torpor.audits.integrity.doubt`).

    Args:
        audit: to be judged.
        gates: what must hold.
        accepted: flags that the user accepts: a pass on a row that carries no other is a pass.

    Raises:
        DataError: if the records are missing or corrupt.
    """
    results = []
    for gate in gates:
        rows = [row for row in audit.summary if _selected(gate, row)]
        if rows:
            results += [_evaluate(audit, gate, row, accepted) for row in rows]
            continue
        known = (
            ", ".join(sorted({f"{row['attack']}@{row.get('defense') or 'none'}" for row in audit.summary})) or "no rows"
        )
        wanted = "an attack" if gate.selector is None else repr(gate.selector)
        wanted += "" if gate.defense is None else f" defended by {gate.defense!r}"
        defenses = {row.get("defense") or "none" for row in audit.summary}
        near = "" if gate.defense is None or gate.defense in defenses else did_you_mean(gate.defense, defenses)
        reason = f"no row of {wanted} in the audit; {near}it has {known}"
        results.append(undecided(gate, reason, audit.target["name"]))
    return doubted(results, doubt(audit))


def _selected(gate: Gate, row: Mapping[str, Any]) -> bool:
    if gate.defense is not None and gate.defense != (row.get("defense") or "none"):
        return False
    return bool(row["kind"] == "attack" if gate.selector is None else row["attack"] == gate.selector)


def _evaluate(audit: SavedAudit, gate: Gate, row: Mapping[str, Any], accepted: Collection[str]) -> CheckResult:
    value, reason = _summarized(gate, row) if gate.aggregate is None else _aggregated(audit, gate, row)
    value, reason = (value, reason) if value is None or not gate.over_clean else _over_clean(value, row, reason)
    verdict = Verdict.INCONCLUSIVE
    if value is not None and not reason:
        verdict = Verdict.PASS if gate.holds(value) else Verdict.FAIL
        if verdict is Verdict.PASS and (reason := weakness(row, audit.summary, accepted, gate.metric)):
            verdict = Verdict.INCONCLUSIVE
    return CheckResult(
        check=str(gate),
        rule=f"gate/{gate.measure}",
        target=audit.target["name"],
        row=describe_row(row),
        value=value,
        shown="not measured" if value is None else gate.show(value),
        limit=f"{gate.op} {gate.show(gate.limit)}",
        verdict=verdict,
        reason=reason,
        tags=row_tags(row),
        accepted=used_flags(row, audit.summary, accepted, gate.metric) if verdict is Verdict.PASS else (),
        notes=notes(row),
    )


def _summarized(gate: Gate, row: Mapping[str, Any]) -> tuple[float | None, str]:
    value = scalar(row, gate.metric)
    why = _uncertified(row) if gate.metric in CERTIFIED else row.get(_REASONS.get(gate.metric, "")) or ""
    if value is None:
        return None, f"{gate.metric} was not measured" + (f": {why}" if why else "")
    if gate.metric in LATENCY_KEYS and row.get("latency_valid") is not True:
        return value, "the latency is not valid" + (f": {why}" if why else "")
    return value, ""


def _over_clean(value: float, row: Mapping[str, Any], reason: str) -> tuple[float | None, str]:
    """Return a cost as times the mean clean cost without any defense."""
    mean = scalar(row, "cost_clean_mean")
    return (value / mean, reason) if mean else (None, "cost_clean_mean was not measured")


def _uncertified(row: Mapping[str, Any]) -> str:
    """Say why nothing is certified in a row; empty if something is."""
    return "" if row.get("certified_cost_mean") is not None else str(row.get("certified_reason") or UNBOUND)


def _aggregated(audit: SavedAudit, gate: Gate, row: Mapping[str, Any]) -> tuple[float | None, str]:
    if gate.metric in CERTIFIED and (why := _uncertified(row)):
        return None, f"{gate.metric} was not measured: {why}"
    column = audit.load_records([gate.metric], row).column(0)
    if row.get("n") is not None and len(column) != row["n"]:
        return None, f"the records hold {len(column)} of {row['n']} samples"
    values = np.asarray(column.drop_null().to_numpy(), dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0 and gate.metric == "headroom":
        return None, (
            "there is no headroom: every clean input is at the cap or the static bound from the start, so that no "
            "attack can cost more; gate cost, such as 'mean(cost) < NUMBER', or raise the cap"
        )
    if len(values) == 0:
        return None, f"{gate.metric} was not measured for any sample"
    if gate.metric != "headroom" and len(values) < len(column):  # headroom is undefined where static equals clean
        return None, f"{gate.metric} was measured for only {len(values)} of {len(column)} samples"
    value = aggregate(str(gate.aggregate), values)
    return (None, f"{gate.measure} is not defined") if math.isnan(value) else (value, "")


def aggregate(name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return what samples become as one value.

    Args:
        name: one of :data:`~torpor.audits.verdict.gate_grammar.AGGREGATES`.
        values: of the samples, ``[N]``.

    >>> aggregate("p50", np.array([1.0, 2.0, 4.0]))
    2.0
    """
    with np.errstate(invalid="ignore"):  # infinities may have no mean; the caller sees the NaN
        if name.startswith("p"):
            return float(np.quantile(values, int(name[1:]) / 100, method="linear"))
        summarize: dict[str, Callable[..., Any]] = {"mean": np.mean, "max": np.max, "min": np.min}
        return float(summarize[name](values))
