"""Compare an audit with an older one of the same target."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torpor.audits.conditions import RowKey, describe_row
from torpor.audits.evidence import notes, used_flags, weakness
from torpor.audits.integrity import doubt
from torpor.audits.read import SavedAudit
from torpor.audits.settings import different_settings
from torpor.audits.verdict.gate import CheckResult, Verdict, doubted, row_tags, scalar
from torpor.audits.verdict.gate_grammar import shown_unit
from torpor.core.errors import DataError, UsageError

MAY_NOT_GROW = ("slowdown_mean", "slowdown_p95", "slowdown_max", "headroom_mean", "cost_clean_mean")
MAY_NOT_FALL = ("utility",)


def compare_baseline(
    new: SavedAudit,
    old: SavedAudit,
    tolerance: float = 0.05,
    accepted: Collection[str] = (),
    *,
    allow_different_settings: bool = False,
) -> list[CheckResult]:
    """Check that no row of ``old`` has become worse in ``new``.

    A metric that may not grow fails where ``new > old * (1 + tolerance)``, one that may not fall where
    ``new < old * (1 - tolerance)``. Metrics that ``old`` has not measured, and controls, are not compared, nor is the
    slowdown of clean inputs, which is 1. A check is
    inconclusive where ``new`` lacks the row or the value, and a pass where the two rows are not of the same samples
    (split, number), the new attack did not work, or either audit may not be what was written.

    Args:
        new: the audit to judge.
        old: the audit to compare with.
        tolerance: relative change that is let through.
        accepted: flags of ``new`` that the user accepts.
        allow_different_settings: compare audits that were not run in the same way.

    Raises:
        UsageError: if the audits are of different targets or were run with different settings, or ``tolerance`` is
            not a finite number of 0 or more.
        DataError: if an audit has two rows for the same attack, defense and budget.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"expected a finite tolerance of 0 or more, got {tolerance}; write 0.05 for 5 percent")
    if new.target["name"] != old.target["name"]:
        raise UsageError(
            f"expected a baseline of target {new.target['name']!r}, got one of {old.target['name']!r}; "
            "compare audits of the same target"
        )
    rows, older = _by_key(new), _by_key(old)
    differing = different_settings(new, old)
    if differing and not allow_different_settings:
        raise UsageError(
            f"expected a baseline with the same settings, got one with another {', another '.join(differing)}; make it "
            "anew with the same options, or pass --allow-different-settings"
        )
    results = list[CheckResult]()
    for key, before in older.items():
        results += _compare_rows(new, old, before, rows.get(key), tolerance, accepted)
    if not results:
        results.append(undecided_baseline("the baseline holds nothing to compare with", new.target["name"]))
    unsure = doubt(old, records=False)
    return doubted(results, doubt(new) or (unsure and f"the baseline: {unsure}"))


def undecided_baseline(reason: str, target: str = "") -> CheckResult:
    """Return the inconclusive result of a comparison that could not be made.

    >>> undecided_baseline("the baseline is incomplete").verdict.value
    'inconclusive'
    """
    return CheckResult("baseline", "baseline/row", target, "", None, "not measured", "", Verdict.INCONCLUSIVE, reason)


def _by_key(audit: SavedAudit) -> dict[RowKey, Mapping[str, Any]]:
    rows: dict[RowKey, Mapping[str, Any]] = {}
    for row in audit.summary:
        if RowKey.of(row) in rows:
            raise DataError(f"expected one row for {describe_row(row)} in {audit.folder}, got two; run the audit again")
        if row["kind"] != "control":
            rows[RowKey.of(row)] = row
    return rows


def _compare_rows(
    new: SavedAudit,
    old: SavedAudit,
    before: Mapping[str, Any],
    after: Mapping[str, Any] | None,
    tolerance: float,
    accepted: Collection[str],
) -> Sequence[CheckResult]:
    if after is None:
        return [_result(new, "row", before, None, "", "the row is in the baseline but not in this audit")]
    flags = used_flags(after, new.summary, accepted)
    doubt = weakness(after, new.summary, accepted) or _other_samples(new, old, before, after)
    results = []
    for metric in (*MAY_NOT_GROW, *MAY_NOT_FALL):
        reference = scalar(before, metric)
        if reference is None or (_is_reference(before) and metric.startswith(("slowdown", "headroom"))):
            continue
        slack = tolerance * abs(reference)  # abs: a negative headroom must not fail against itself
        value, grows = scalar(after, metric), metric in MAY_NOT_GROW
        bound = reference + slack if grows else reference - slack
        limit = f"{'<=' if grows else '>='} {_shown(new, metric, bound)}"
        if value is None:
            reason = f"{metric} was measured in the baseline but not in this audit"
            results.append(_result(new, metric, after, None, limit, reason))
        elif value > bound if grows else value < bound:
            results.append(_result(new, metric, after, value, limit, "", failed=True))
        else:
            results.append(_result(new, metric, after, value, limit, doubt, accepted=() if doubt else flags))
    return results


def _is_reference(row: Mapping[str, Any]) -> bool:
    """Tell whether slowdown and headroom of a row are over its own cost: they are always 1 and 0."""
    return bool(row["kind"] == "clean" and row.get("defense", "none") == "none")


def _shown(audit: SavedAudit, metric: str, value: float) -> str:
    known = audit.catalog.at("row").get(metric)
    return f"{value:.6g}{'' if known is None else shown_unit(metric, known.dimension, audit.currency)}"


def _other_samples(new: SavedAudit, old: SavedAudit, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    was, now = (old.config.get("split"), before.get("n")), (new.config.get("split"), after.get("n"))
    if was == now:
        return ""
    return f"a pass is no evidence: {now[1]} samples of split {now[0]}, the baseline has {was[1]} of {was[0]}"


def _result(
    new: SavedAudit,
    metric: str,
    row: Mapping[str, Any],
    value: float | None,
    limit: str,
    reason: str,
    *,
    failed: bool = False,
    accepted: tuple[str, ...] = (),
) -> CheckResult:
    verdict = Verdict.FAIL if failed else Verdict.INCONCLUSIVE if reason else Verdict.PASS
    return CheckResult(
        check=f"baseline {metric} {limit}".rstrip(),
        rule=f"baseline/{metric}",
        target=new.target["name"],
        row=describe_row(row),
        value=value,
        shown="not measured" if value is None else _shown(new, metric, value),
        limit=limit,
        verdict=verdict,
        reason=reason,
        tags=row_tags(row),
        accepted=accepted,
        notes=notes(row),
    )
