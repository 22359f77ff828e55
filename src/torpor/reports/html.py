"""The HTML report of an audit: one self-contained file that opens offline, for readers who were not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.audits.conditions import RowKey
from torpor.audits.curves import curves_of, seconds_of
from torpor.audits.integrity import remarks
from torpor.audits.lock import PATIENCE_S, FolderLock
from torpor.audits.read import SavedAudit, read_audit
from torpor.core.budget import budget_text
from torpor.core.measures import COST
from torpor.core.units import symbol
from torpor.reports.kit import charts, tables, words
from torpor.reports.kit.charts import CurvesOf, best_so_far, read_records
from torpor.reports.kit.plots import plotly_script
from torpor.reports.kit.words import Row, percent, times
from torpor.reports.sections import section_of
from torpor.reports.sections.base import Section
from torpor.reports.verdict import HeadlineChange, moved, verdict
from torpor.reports.worst_samples import saved_files, worst_samples

if TYPE_CHECKING:
    import numpy as np

SENT = {
    "text": "Attacked texts survive the target's own tokenizer and contain no special tokens",
    "features": "Attacked spectrograms are what a feature extractor could hand on, but no sound need have them",
    "wave": "Attacked sounds are 16-bit sounds that anybody could send",
}
"""Captions of attacked inputs other than images."""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a complete audit, in one step, and return its path; see :func:`write`.

    Args:
        folder: what ``torpor audit --out`` wrote; see docs/audit-format.md.

    Raises:
        DataError: if the folder holds no audit, or one of another format.
        IncompleteAudit: if the audit was interrupted.
        UsageError: if another process writes the folder.

    >>> write_report(Path("nowhere"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    torpor.core.errors.DataError: expected the folder of an audit, got nowhere, which is no folder; ...
    """
    return write(read_audit(folder), "report.html")


def write(audit: SavedAudit, name: str) -> Path:
    """Write the report of an audit into its folder, in one step, and return its path.

    Args:
        audit: as it was read, or under other prices.
        name: of the file.

    Raises:
        DataError: if its records cannot be read.
        UsageError: if another process writes the folder.
    """
    text = render(
        audit.parts(),
        read_records(audit, section_of(audit.parts()).columns),
        {RowKey.of(row): audit.examples(row) for row in audit.summary},
        remarks(audit),
        partial(curves_of, audit),
    )
    path = audit.folder / name
    unfinished = path.with_name(f".report-{os.getpid()}.html")
    with FolderLock(audit.folder, patience_s=PATIENCE_S):
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def render(
    audit: Row,
    records: Mapping[str, np.ndarray],
    examples: Mapping[RowKey, Path],
    remarks: Sequence[str] = (),
    curves: CurvesOf = lambda row: [],
) -> str:
    """Return the report as HTML; every string of the audit is escaped.

    Args:
        audit: its parts.
        records: columns of ``records.parquet``.
        examples: files of saved inputs by row; they need not be there.
        remarks: sentences below the verdict.
        curves: of the samples of a row.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    whole = audit["summary"]
    summary = words.undefended(whole)
    defenses = _defenses(whole) if len(summary) < len(whole) else {}
    free = {**audit, "summary": summary}
    section = section_of(audit)
    bare = section_of(free)
    series, unit = charts.headline_series(summary), symbol(str(audit.get("currency") or "flops"))
    figures = [
        defenses.get("chart"),
        *bare.charts(series, records),
        charts.slowdown_distribution(series, records, unit),
        charts.cost_distribution(free, series, records, unit),
        best_so_far(series, curves, unit),
        *bare.later_charts(series),
        *charts.eps_curves(free, section.growth),
    ]
    target = audit["target"]
    return environment.get_template("report.html.j2").render(
        audit=audit,
        target_facts=[(name, value) for name, value in target.items() if value is not None],
        verdict=[*verdict(audit), *remarks],
        tiles=_tiles(summary, section, moved(audit)),
        section=section,
        parts=section.parts(),
        unit=unit,
        tables={
            "cost": tables.cost_table(audit, section.main_columns()),
            "defenses": defenses.get("table"),
            "degraded": defenses.get("degraded"),
            "clock": tables.clock_table(audit),
            "effort": tables.effort_table(audit),
        },
        flags=_flags(whole),
        note=section.note,
        benign=_benign(audit.get("natural")),
        charts=[figure for figure in figures if figure is not None],
        plotly_js=plotly_script(),
        inputs=target.get("inputs") or "image",
        sent=SENT.get(target.get("inputs"), "Attacked images are 8-bit images that anybody could send"),
        samples=worst_samples(saved_files(whole, examples), section, records, curves, partial(_seconds, audit)),
        threats=[row for row in whole if row["kind"] == "attack"],
        words=words,
        budget_text=budget_text,
        said=_said,
    )


def _seconds(audit: Row, row: Row) -> list[float]:
    """Return what the search on each sample of a row took."""
    size = (audit.get("config") or {}).get("batch_size")
    return seconds_of(audit.get("samples"), size, RowKey.of(row).slug) if isinstance(size, int) and size > 0 else []


def _defenses(summary: Sequence[Row]) -> dict[str, Any]:
    """Return what the page shows of defenses."""
    from torpor.reports.defended import defense_table, degraded_table, pareto

    return {"chart": pareto(summary), "table": defense_table(summary), "degraded": degraded_table(summary)}


def _tiles(summary: Sequence[Row], section: Section, ranked: Sequence[HeadlineChange]) -> list[tuple[str, str, str]]:
    """Return (value, title, remark) of the figures that head the report, the one that moved most first."""
    worst = words.costliest(summary, "attack")
    if worst is None:
        return []
    same = (row for row in summary if row["kind"] == "clean" and row.get("defense") == worst.get("defense"))
    clean = next(same, None)
    p95 = words.value_text(worst, "slowdown_p95", times)
    ci95 = words.bracket(worst).strip("[]")
    certified = ""
    if words.at_most(worst) is not None:
        most, gap = (words.value_text(worst, f"certified_{key}", times) for key in ("slowdown_mean", "gap"))
        certified = f"; certified bound {most}, {gap} what was found"
    mean = f"95 % CI {ci95}" if ci95 else words.missing("no interval")
    cost = [
        (words.value_text(worst, "slowdown_max", times), "worst slowdown", f"one sample; p95 {p95}"),
        (words.value_text(worst, "slowdown_mean", times), "mean slowdown", f"{mean}{certified}"),
        (words.value_text(worst, "headroom_mean", percent), "headroom used", "0 % clean, 100 % static bound"),
    ]
    found = [tile for each in ranked for tile in (cost if each.headline == COST else [_moved_tile(each)])]
    found += [] if any(each.headline == COST for each in ranked) else cost
    return found + section.tiles(ranked[0].row if ranked else worst, clean)


def _moved_tile(each: HeadlineChange) -> tuple[str, str, str]:
    """Return a headline other than cost; where none became some there is no factor."""
    factor = each.factor
    if factor is None or factor == float("inf"):
        return each.figures, each.headline.title, f"mean per input, by {words.label(each.row)}"
    return times(factor), each.headline.title, f"{each.figures} {each.typical}, by {words.label(each.row)}"


def _benign(natural: Row | None) -> str:
    if natural is None:
        return words.missing("no benign inputs were profiled")
    p999 = words.value_text(natural, "slowdown_p999", times)
    return f"{natural['n']} inputs of the {_said(natural['split'])} split, 99.9th percentile {p999} the mean clean cost"


def _flags(summary: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return (flag, the rows that carry it, what it means)."""
    names = dict.fromkeys(flag for row in summary for flag in row["flags"])
    carriers = {flag: "; ".join(words.label(row) for row in summary if flag in row["flags"]) for flag in names}
    return [(flag, rows, words.explain_flag(flag)) for flag, rows in carriers.items()]


def _said(value: object) -> str:
    """Return a value of the configuration as text."""
    if value is None or value == [] or value == {}:
        return "not given"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
