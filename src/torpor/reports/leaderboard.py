"""Many audits as one table: each target, bare and with each defense, by the worst that is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torpor.audits.evidence import weak_flags
from torpor.audits.integrity import doubt
from torpor.audits.read import SavedAudit
from torpor.core.errors import UsageError
from torpor.reports.kit.words import Row, costliest, is_missing, label, over_clean, static_factor
from torpor.reports.page import write_page

SCHEMA = "torpor.leaderboard/1"
HEADS = (
    *("rank", "target", "worst slowdown", "95 % CI", "p95", "bill", "bound", "clean cost", "clean utility", "n"),
    *("worst attack", "flags"),
)
"""Titles of the columns of :func:`lines`."""


@dataclass(frozen=True)
class RankedTarget:
    """One target, bare or defended, and the worst that is known of it.

    Attributes:
        target: its name.
        defense: ``"none"`` without.
        attack: the costliest, with its budget; empty where none was run.
        slowdown_mean: of that attack, over the undefended clean cost; None where none was run.
        slowdown_ci95: its 95 % interval; None of a single sample.
        slowdown_p95: 95th percentile.
        bill: mean cost over mean clean cost.
        bound: the largest static bound of its rows, over the mean clean cost.
        clean_cost: mean clean cost over that without the defense.
        utility: of clean inputs.
        utility_name: what that is.
        n: samples.
        flags: for which the figure is a lower limit.
        run: folder of the audit.
    """

    target: str
    defense: str
    attack: str
    slowdown_mean: float | None
    slowdown_ci95: tuple[float, float] | None
    slowdown_p95: float | None
    bill: float | None
    bound: float | None
    clean_cost: float | None
    utility: float | None
    utility_name: str
    n: int
    flags: tuple[str, ...]
    run: str


def entries(audits: Sequence[SavedAudit]) -> list[RankedTarget]:
    """Return the entries of several audits, the one whose worst known slowdown is the smallest first.

    Args:
        audits: in the same currency.

    Raises:
        UsageError: if they are not.

    >>> rows = [{"attack": "clean", "kind": "clean", "n": 2, "flags": [], "slowdown_mean": 1.0}]
    >>> [entry.target for entry in entries([SavedAudit(Path("run"), {}, {"name": "toy"}, {}, None, rows)])]
    ['toy']
    """
    currencies = list(dict.fromkeys(audit.currency for audit in audits))
    if len(currencies) > 1:
        raise UsageError(
            f"expected audits in one currency, got {' and '.join(currencies)}; put the same prices to all with --prices"
        )
    found = [_entry(audit, name) for audit in audits for name in _defenses(audit)]
    return sorted(found, key=lambda each: (each.slowdown_mean is None, each.slowdown_mean or 0.0, each.target))


def _defenses(audit: SavedAudit) -> list[str]:
    return list(dict.fromkeys(str(row.get("defense") or "none") for row in audit.summary))


def _entry(audit: SavedAudit, defense: str) -> RankedTarget:
    rows = [row for row in audit.summary if (row.get("defense") or "none") == defense]
    clean: Row = next((row for row in rows if row["kind"] == "clean"), {})
    worst = costliest(rows, "attack")
    told: Row = worst or {}
    ci95 = told.get("slowdown_ci95")
    bill = None if worst is None else over_clean(worst)
    return RankedTarget(
        target=str(audit.target["name"]),
        defense=defense,
        attack="" if worst is None else label({**worst, "defense": "none"}),
        slowdown_mean=_number(told, "slowdown_mean"),
        slowdown_ci95=None if ci95 is None else (float(ci95[0]), float(ci95[1])),
        slowdown_p95=_number(told, "slowdown_p95"),
        bill=bill,
        bound=static_factor(rows),
        clean_cost=_number(clean, "slowdown_mean"),
        utility=_number(clean, "utility"),
        utility_name=str(clean.get("utility_name") or "utility"),
        n=int(told.get("n") or clean.get("n") or 0),
        flags=() if worst is None else weak_flags(worst, audit.summary),
        run=str(audit.folder),
    )


def _number(row: Row, key: str) -> float | None:
    value = row.get(key)
    return None if value is None or is_missing(value) else float(value)


def remarks(audits: Sequence[SavedAudit]) -> list[str]:
    """Return what keeps the entries from being comparable, in sentences."""
    said = []
    for name in ("attacks", "norm", "eps", "steps", "limit", "seed"):
        values = list(dict.fromkeys(_setting(audit.config.get(name)) for audit in audits))
        if len(values) > 1:
            said.append(f"Not run alike: {name} {' / '.join(values)}.")
    data = {str((audit.identity or {}).get("data")) for audit in audits}
    if len(data) > 1:
        said.append("Not of the same data.")
    said += [f"{audit.folder} is not to be relied on: {reason}." for audit in audits if (reason := doubt(audit))]
    return said


def _setting(value: object) -> str:
    """Return a setting in words.

    >>> _setting([0.031372549, 0.5]), _setting(None)
    ('0.03137, 0.5', 'by default')
    """
    if isinstance(value, list):
        return ", ".join(map(_setting, value)) or "by default"
    return "by default" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def as_json(audits: Sequence[SavedAudit]) -> dict[str, Any]:
    """Return the leaderboard as a JSON document."""
    ranked: list[Mapping[str, Any]] = [{"rank": rank, **asdict(each)} for rank, each in enumerate(entries(audits), 1)]
    return {"schema": SCHEMA, "entries": ranked, "remarks": remarks(audits)}


def write_leaderboard(audits: Sequence[SavedAudit], path: Path) -> Path:
    """Write the leaderboard as a page and return its path.

    Raises:
        UsageError: if the file cannot be written, or the audits are in several currencies.
    """
    return write_page(path, "leaderboard.html.j2", lines=lines(entries(audits)), heads=HEADS, remarks=remarks(audits))


def lines(ranked: Sequence[RankedTarget]) -> list[tuple[str, ...]]:
    """Return the cells of each entry; a figure that is a lower limit is marked so."""
    return [(str(rank), *_cells(each)) for rank, each in enumerate(ranked, 1)]


def _cells(each: RankedTarget) -> tuple[str, ...]:
    def factor(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}x"

    name = each.target if each.defense == "none" else f"{each.target}, defended by {each.defense}"
    ci95 = "-" if each.slowdown_ci95 is None else "-".join(f"{end:.2f}" for end in each.slowdown_ci95)
    utility = "-" if each.utility is None else f"{100 * each.utility:.1f} % {each.utility_name}"
    mean = factor(each.slowdown_mean)
    return (
        *(name, f">= {mean}" if each.flags else mean, ci95, factor(each.slowdown_p95), factor(each.bill)),
        *(factor(each.bound), factor(each.clean_cost), utility, str(each.n), each.attack or "none was run"),
        ", ".join(each.flags) or "none",
    )
