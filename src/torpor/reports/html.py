"""The HTML report of an audit: one self-contained file that opens offline, for readers who were not there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torpor.audits.integrity import remarks
from torpor.audits.lock import PATIENCE_S, FolderLock
from torpor.audits.read import read_audit
from torpor.core.budget_text import budget_text
from torpor.reports import charts, defended, outputs, tables, words
from torpor.reports.plots import plotly_script
from torpor.reports.records import read_records
from torpor.reports.samples import worst_samples
from torpor.reports.verdict import verdict
from torpor.reports.words import Row, loops_text, percent, steps_text, times

if TYPE_CHECKING:
    import numpy as np

SENT = {
    "text": "Attacked texts survive the target's own tokenizer and contain no special tokens",
    "features": "Attacked spectrograms are what a feature extractor could hand on, but no sound need have them",
    "wave": "Attacked sounds are 16-bit sounds that anybody could send",
}
"""What can be said of attacked inputs other than images."""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a complete audit, in one step, and return its path.

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
    audit = read_audit(folder)
    text = render(audit.parts(), read_records(audit), folder / "examples", remarks(audit))
    path = folder / "report.html"
    partial = path.with_name(f".report-{os.getpid()}.html")
    with FolderLock(folder, patience_s=PATIENCE_S):
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def render(audit: Row, records: dict[str, np.ndarray], examples: Path, remarks: Sequence[str] = ()) -> str:
    """Return the report as HTML, with remarks below the verdict; every string of the audit is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    whole = audit["summary"]
    summary = defended.undefended(whole)
    free = {**audit, "summary": summary}
    exits = not words.iterates(summary) and not words.finds(summary)
    series = charts.headline_series(summary)
    figures = [
        defended.pareto(whole),
        charts.exit_histogram(free, series),
        charts.step_distribution(free, series, records),
        charts.slowdown_distribution(series, records),
        charts.cost_distribution(free, series, records),
        *outputs.stage_bars(free, series),
        outputs.suppression_fit(free),
        *charts.eps_curves(free),
    ]
    target = audit["target"]
    return environment.get_template("report.html.j2").render(
        audit=audit,
        target_facts=[(name, value) for name, value in target.items() if value is not None or exits],
        verdict=[*verdict(audit), *remarks],
        tiles=_tiles(summary),
        tables={
            "cost": tables.cost_table(audit),
            "defenses": defended.defense_table(whole),
            "degraded": defended.degraded_table(whole),
            "steps": tables.steps_table(audit),
            "outputs": outputs.outputs_table(audit),
            "clock": tables.clock_table(audit),
            "effort": tables.effort_table(audit),
        },
        flags=_flags(whole),
        note=_note(audit),
        benign=_benign(audit.get("natural")),
        charts=[figure for figure in figures if figure is not None],
        plotly_js=plotly_script(),
        inputs=target.get("inputs") or "image",
        sent=SENT.get(target.get("inputs"), "Attacked images are 8-bit images that anybody could send"),
        samples=worst_samples(examples, audit, records),
        threats=[row for row in whole if row["kind"] == "attack"],
        words=words,
        budget_text=budget_text,
        said=_said,
    )


def _note(audit: Row) -> str:
    """Return how to read the columns that only this kind of target has."""
    if words.iterates(audit["summary"]):
        return words.LOOPS_NOTE
    if words.finds(audit["summary"]):
        return words.OBJECTS_NOTE
    return words.efficacy_note(audit["target"].get("exit_costs") or [])


def _tiles(summary: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return (value, title, remark) of the figures that head the report."""
    worst = words.costliest(summary, "attack")
    if worst is None:
        return []
    same = (row for row in summary if row["kind"] == "clean" and row.get("defense") == worst.get("defense"))
    clean = next(same, None)
    before = words.missing("no clean row") if clean is None else words.value_text(clean, "utility", percent)
    p95 = words.value_text(worst, "slowdown_p95", times)
    ci95 = words.bracket(worst).strip("[]")
    found = [
        (words.value_text(worst, "slowdown_max", times), "worst slowdown", f"one sample; p95 {p95}"),
        (times(worst["slowdown_mean"]), "mean slowdown", f"95 % CI {ci95}" if ci95 else words.missing("no interval")),
        (words.value_text(worst, "headroom_mean", percent), "headroom used", "0 % clean, 100 % static bound"),
    ]
    if words.iterates([worst]):
        return found + _step_tiles(worst, clean or {})
    if words.finds([worst]):
        return found + _object_tiles(worst, clean or {})
    return [
        *found,
        (words.value_text(worst, "utility", percent), str(worst.get("utility_name") or "utility"), f"clean {before}"),
        (words.value_text(worst, "agreement", percent), "agreement", "predictions that equal the clean one"),
    ]


def _step_tiles(worst: Row, clean: Row) -> list[tuple[str, str, str]]:
    """Return the figures of a target that iterates; BLEU, or the utility where there is none."""
    steps = " to ".join(words.value_text(worst, key, steps_text) for key in ("steps_clean_mean", "steps_mean"))
    before = words.value_text(worst, "cap_hit_rate_clean", percent)
    scored = not words.is_missing(worst.get("bleu"))
    key, name = ("bleu", "BLEU") if scored else ("utility", str(worst.get("utility_name") or "utility"))
    form = "{:.1f}".format if scored else percent
    was = words.missing("no clean row") if not clean else words.value_text(clean, key, form)
    return [
        (
            words.value_text(worst, "i_loops_mean", loops_text),
            f"mean I-Loops, cap {worst.get('cap')}",
            f"steps {steps}",
        ),
        (words.value_text(worst, "cap_hit_rate", percent), "ended by the cap", f"clean {before}"),
        (words.value_text(worst, key, form), name, f"clean {was}"),
    ]


def _object_tiles(worst: Row, clean: Row) -> list[tuple[str, str, str]]:
    """Return the figures of a target that finds objects: MOTA where it tracks them, else mAP."""
    key, name = ("map50", "mAP@.5") if words.is_missing(worst.get("mota")) else ("mota", "MOTA")
    was = words.missing("no clean row") if not clean else words.value_text(clean, key, "{:.3f}".format)
    before = words.value_text(worst, "kept_clean_mean", steps_text)
    counts = [(row.get("units_mean") or {}).get("candidate") for row in (clean, worst)]
    seen, saw = (words.missing("no counts") if count is None else steps_text(count) for count in counts)
    return [
        (saw, "candidates", f"mean per sample; clean {seen}"),
        (words.value_text(worst, "kept_mean", steps_text), "objects handed on", f"mean per sample; clean {before}"),
        (words.value_text(worst, "clean_recall_mean", percent), "clean recall", "clean objects that are still found"),
        (words.value_text(worst, key, "{:.3f}".format), name, f"clean {was}"),
    ]


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
