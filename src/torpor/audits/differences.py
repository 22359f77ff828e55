"""What two audits differ in, with intervals: row by row, sample by sample where both are of the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from torpor.audits.conditions import RowKey
from torpor.audits.read import SavedAudit
from torpor.audits.settings import LIBRARIES_ASIDE

MEASURES = {"slowdown": "mean slowdown", "cost": "mean cost", "headroom": "headroom", "utility": "utility"}
"""Columns whose means are compared, in words."""
RESAMPLES, SEED = 2000, 0

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Difference:
    """How the mean of one measure differs between the same row of two audits.

    Attributes:
        row: of the first audit.
        measure: name of the column.
        before: mean in the first audit.
        after: mean in the second one.
        low: lower end of the 95 % interval of ``after - before``; None where it cannot be known.
        high: upper end, likewise.
        paired: whether both are of the same samples, which are compared one by one.
        n: samples of the smaller one.
    """

    row: Mapping[str, Any]
    measure: str
    before: float
    after: float
    low: float | None
    high: float | None
    paired: bool
    n: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes no difference."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def differences(first: SavedAudit, second: SavedAudit) -> Iterator[Difference]:
    """Yield the difference of each measure of each row that both audits have.

    Samples are the same where both audits read the same data and a sample has the same number in both; then the mean of
    the differences is resampled, else each mean on its own.

    Args:
        first: what is compared with.
        second: what is judged.

    Raises:
        DataError: if records cannot be read.
    """
    known = {RowKey.of(row) for row in second.summary}
    paired = _same_data(first, second)
    names = [name for name in MEASURES if name in first.columns and name in second.columns]
    names = [name for name in names if name != "cost" or first.currency == second.currency]
    for row in first.summary:
        if RowKey.of(row) not in known:
            continue
        one, other = (_columns(audit, names, row) for audit in (first, second))
        for name in names:
            found = _difference(row, name, one, other, paired=paired)
            if found is not None:
                yield found


def _difference(
    row: Mapping[str, Any], name: str, one: Mapping[str, Floats], other: Mapping[str, Floats], *, paired: bool
) -> Difference | None:
    a, b = one[name], other[name]
    if paired:
        _, mine, theirs = np.intersect1d(one["sample"], other["sample"], return_indices=True)
        both = ~np.isnan(a[mine]) & ~np.isnan(b[theirs])
        a, b = a[mine][both], b[theirs][both]
    else:
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if len(a) == 0 or len(b) == 0:
        return None
    low, high = _interval(a, b, paired=paired)
    return Difference(row, name, float(a.mean()), float(b.mean()), low, high, paired, min(len(a), len(b)))


def _interval(a: Floats, b: Floats, *, paired: bool) -> tuple[float | None, float | None]:
    """Return the 95 % percentile-bootstrap interval of the difference of the means; None of a single sample.

    >>> _interval(np.array([1.0, 2.0]), np.array([2.0, 3.0]), paired=True)
    (1.0, 1.0)
    """
    if min(len(a), len(b)) < 2:
        return None, None
    if paired:
        from torpor.metrics.tails import bootstrap_ci95

        return bootstrap_ci95(b - a, resamples=RESAMPLES, seed=SEED)
    generator = np.random.default_rng(SEED)
    means = [
        np.array([values[generator.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)])
        for values in (a, b)
    ]
    low, high = np.quantile(means[1] - means[0], [0.025, 0.975])
    return float(low), float(high)


def _columns(audit: SavedAudit, names: list[str], row: Mapping[str, Any]) -> dict[str, Floats]:
    table = audit.load_records(["sample", *names], row)
    return {
        name: np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64) for name in ("sample", *names)
    }


def _same_data(first: SavedAudit, second: SavedAudit) -> bool:
    """Tell whether a number of a sample means the same in both audits: the data have the same fingerprint."""
    one, other = ((audit.identity or {}).get("data") for audit in (first, second))
    return one is not None and one == other and first.config.get("split") == second.config.get("split")


def changed_plan(first: SavedAudit, second: SavedAudit) -> list[tuple[str, str, str]]:
    """Return (what, in the first audit, in the second one) of all that was run in another way.

    >>> from pathlib import Path
    >>> one, two = (SavedAudit(Path(), {"seed": seed}, {"name": "toy"}, {}, None, []) for seed in (0, 1))
    >>> changed_plan(one, two)
    [('seed', '0', '1')]
    """
    found = []
    for title, pair in (
        ("", (first.config, second.config)),
        ("target: ", (first.target, second.target)),
        ("version of ", (_versions(first), _versions(second))),
        ("machine: ", (_machine(first), _machine(second))),
        ("content of ", (_contents(first), _contents(second))),
    ):
        for name in dict.fromkeys(key for each in pair for key in each):
            was, now = (each.get(name) for each in pair)
            if was != now:
                found.append((f"{title}{name.replace('_', ' ')}", _said(was), _said(now)))
    was, now = (audit.environment.get("commit") for audit in (first, second))
    if was and now and was != now:
        found.append(("commit of the repository it ran in", str(was), str(now)))
    if first.currency != second.currency:
        found.append(("currency", first.currency, second.currency))
    return found


def _versions(audit: SavedAudit) -> dict[str, Any]:
    aside = set(LIBRARIES_ASIDE) - {"torpor"}
    return {name: value for name, value in audit.environment.items() if name not in aside}


def _machine(audit: SavedAudit) -> dict[str, Any]:
    return {name: audit.environment.get(name) for name in ("platform", "processor", "threads", "device")}


def _contents(audit: SavedAudit) -> dict[str, Any]:
    """Return fingerprints, shortened; what is missing in older audits is no change."""
    identity = audit.identity or {}
    found = {"the target": identity.get("target"), "the data": identity.get("data")}
    code = identity.get("code")
    found |= {f"the code of {name}": digest for name, digest in code.items()} if isinstance(code, Mapping) else {}
    return {name: str(value)[:12] for name, value in found.items() if value is not None}


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return "none" if value in (None, "") else f"{value:.6g}" if isinstance(value, float) else str(value)
