"""Replay a regression set: does an input cost more than when it was mined?"""

from __future__ import annotations

import math
from importlib.metadata import entry_points

import numpy as np

from torpor.audits.mining.measured import MeasuredWork
from torpor.audits.mining.regression_set import ExpectedWork, RegressionSet, inputs_digest
from torpor.audits.verdict.gate import CheckResult, Verdict
from torpor.core.errors import DataError, UsageError
from torpor.core.units import symbol
from torpor.targets.base import Target
from torpor.targets.resolve import GROUP, load_target

RULE = "set/cost"
TAGS = {"owasp": ("LLM06:2026",), "cwe": ("CWE-770",)}
"""Unbounded consumption; allocation of resources without limits."""


def set_target(held: RegressionSet, name: str | None) -> Target:
    """Return the target that a set is replayed on.

    Args:
        held: the set.
        name: that the user gave; None for the one that the set names, which then must be registered: a file may not say
            what code runs.

    Raises:
        UsageError: if there is no such target, or the set names one that is not registered.
    """
    if name is None and held.target not in {entry.name for entry in entry_points(group=GROUP)}:
        raise UsageError(
            f"expected --target with this set, whose own is no registered target, got none; if you trust it, pass "
            f"--target {held.target}"
        )
    return load_target(name or held.target, rule=held.rule)


def replayed(held: RegressionSet, target: Target, tolerance: float) -> list[CheckResult]:
    """Run the inputs of a set, and check that none costs more than when it was mined.

    Args:
        held: the set.
        target: what runs.
        tolerance: relative change that is let through.

    Returns:
        A check for each input; inconclusive ones if the inputs are not those that were mined, or cannot be read.

    Raises:
        UsageError: if the target is priced in another currency, or the tolerance is not a finite number of 0 or more.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"expected a finite tolerance of 0 or more, got {tolerance}; write 0.05 for 5 percent")
    if target.prices.currency != held.currency:
        raise UsageError(
            f"expected a target with costs in {held.currency}, got {target.name} in {target.prices.currency}; mine the "
            "set again"
        )
    try:
        work = _run(held, target)
    except DataError as error:
        return [undecided_set(held, each, str(error)) for each in held.expected]
    return [_compared(held, target, each, work, position, tolerance) for position, each in enumerate(held.expected)]


def undecided_set(held: RegressionSet, expected: ExpectedWork, reason: str) -> CheckResult:
    """Return the inconclusive result of an input that could not be run."""
    return CheckResult(
        "set cost", RULE, held.target, expected.place, None, "not measured", "", Verdict.INCONCLUSIVE, reason, TAGS
    )


def _run(held: RegressionSet, target: Target) -> MeasuredWork:
    """Run the inputs as ``--inputs`` reads them.

    Raises:
        DataError: if they are not those that were mined.
    """
    from torpor.audits.run.job import deterministic, source

    try:
        found = inputs_digest(held.path)
    except OSError as error:
        raise DataError(f"expected the inputs of the set in {held.path}, got: {error}; mine the set again") from error
    if found != held.digest:
        raise DataError(f"expected the inputs that were mined in {held.path}, got others; mine the set again")
    data = source(target, None, held.path)
    counts = list[np.ndarray[tuple[int, int], np.dtype[np.int64]]]()
    with deterministic():
        for batch in data.batches("test", target.family.batch_size):
            counts.append(target.run(target.read(batch.inputs)).work.counts.cpu().numpy())
    joined = np.concatenate(counts)
    if len(joined) != len(held.expected):
        raise DataError(f"expected {len(held.expected)} inputs in {held.path}, got {len(joined)}; mine the set again")
    prices = np.asarray(target.prices.per_unit, dtype=np.float64)
    return MeasuredWork(np.arange(len(joined)), joined, prices, np.full(len(joined), np.nan))


def _compared(
    held: RegressionSet, target: Target, expected: ExpectedWork, work: MeasuredWork, position: int, tolerance: float
) -> CheckResult:
    cost, limit = work.cost_of(position), expected.cost * (1 + tolerance)
    worse = cost > limit and not math.isclose(cost, limit, rel_tol=1e-9)
    unit = symbol(held.currency)
    return CheckResult(
        check=f"set cost <= {limit:.6g} {unit}",
        rule=RULE,
        target=target.name,
        row=expected.place,
        value=cost,
        shown=f"{cost:.6g}",
        limit=f"<= {limit:.6g} {unit}",
        verdict=Verdict.FAIL if worse else Verdict.PASS,
        tags=TAGS,
        notes=_changes(held, target, expected, work.counts[position].tolist()),
    )


def _changes(held: RegressionSet, target: Target, expected: ExpectedWork, counts: list[int]) -> tuple[str, ...]:
    """Say which units run more or less often than when the input was mined."""
    units = tuple(unit.name for unit in target.units)
    if units != held.units:
        return (f"the target had the units {', '.join(held.units)}, and has {', '.join(units)}",)
    changed = [
        f"{name} ran {now:,} times, {before:,} when it was mined"
        for name, now, before in zip(units, counts, expected.counts, strict=True)
        if now != before
    ]
    return ("; ".join(changed),) if changed else ()
