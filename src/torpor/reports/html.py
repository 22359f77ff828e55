"""The HTML report of an audit: one self-contained file that opens offline, for readers who were not there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.audits.read import Audit, read_audit
from torpor.reports import charts, words
from torpor.reports.pictures import worst_pictures
from torpor.reports.words import Row, percent, quantity, times

if TYPE_CHECKING:
    import numpy as np

_COLUMNS = (
    *("sample", "attack", "defense", "norm", "eps", "reference", "exit", "agreement"),
    *("flops_clean", "flops", "flops_static", "slowdown", "linf"),
)


@dataclass
class Table:
    """A table of the report, filled row by row.

    Attributes:
        heads: (column title, explanation) of each column.
        body: (label, kind of row, cells).
        notes: reasons for the cells without a value, in the order of their numbers.
    """

    heads: tuple[tuple[str, str], ...]
    body: list[tuple[str, str, list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def cell(self, row: Row, key: str, form: Callable[[Any], str]) -> str:
        """Return ``row[key]`` as text, or "not measured" with the number of the note that says why."""
        if not words.is_missing(row.get(key)):
            return form(row[key])
        reason = words.reason_for(row, key) or "the audit gives no reason"
        if reason not in self.notes:
            self.notes.append(reason)
        return f"not measured ({self.notes.index(reason) + 1})"


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a complete audit, in one step, and return its path.

    Args:
        folder: what ``torpor audit --out`` wrote; see docs/audit-format.md.

    Raises:
        DataError: if the folder holds no audit, or one of another format.
        IncompleteAudit: if the audit was interrupted.

    >>> write_report(Path("nowhere"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    torpor.core.errors.DataError: expected the folder of an audit, got nowhere, which is no folder; ...
    """
    audit = read_audit(folder)
    text = render(audit.parts(), _read_records(audit), folder / "examples")
    path = folder / "report.html"
    partial = path.with_name(f".report-{os.getpid()}.html")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(audit: Row, records: dict[str, np.ndarray], examples: Path) -> str:
    """Return the report as HTML; every string of the audit is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    summary = audit["summary"]
    series = charts.headline_series(summary)
    figures = [
        charts.exit_histogram(audit, series),
        charts.slowdown_distribution(series, records),
        charts.cost_distribution(audit, series, records),
        *charts.eps_curves(audit),
    ]
    return environment.get_template("report.html.j2").render(
        audit=audit,
        verdict=words.verdict(audit),
        tiles=_tiles(summary),
        tables={"cost": _cost_table(summary), "clock": _clock_table(summary), "effort": _effort_table(summary)},
        flags=_flags(summary),
        efficacy_note=words.efficacy_note(audit["target"].get("exit_costs") or []),
        benign=_benign(audit.get("natural")),
        charts=[figure for figure in figures if figure is not None],
        plotly_js=charts.plotly_script(),
        pictures=worst_pictures(examples, summary, records),
        threats=[row for row in summary if row["kind"] == "attack"],
        words=words,
        said=_said,
    )


def _read_records(audit: Audit) -> dict[str, np.ndarray]:
    table = audit.records(_COLUMNS)
    records = {name: table[name].to_numpy() for name in _COLUMNS}
    records["eps"] = records["eps"].astype(float)  # a column of nulls has no type of its own
    return records


def _tiles(summary: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return (value, title, remark) of the figures that head the report."""
    worst = words.costliest(summary, "attack")
    if worst is None:
        return []
    same = (row for row in summary if row["kind"] == "clean" and row.get("defense") == worst.get("defense"))
    clean = next(same, None)
    before = words.missing("no clean row") if clean is None else words.value_text(clean, "utility", percent)
    p95 = words.value_text(worst, "slowdown_p95", times)
    ci95 = words.interval(worst)
    return [
        (words.value_text(worst, "slowdown_max", times), "worst slowdown", f"one sample; p95 {p95}"),
        (times(worst["slowdown_mean"]), "mean slowdown", f"95 % CI {ci95}" if ci95 else words.missing("no interval")),
        (words.value_text(worst, "headroom_mean", percent), "headroom used", "0 % clean, 100 % static bound"),
        (words.value_text(worst, "utility", percent), str(worst.get("utility_name") or "utility"), f"clean {before}"),
        (words.value_text(worst, "agreement", percent), "agreement", "predictions that equal the clean one"),
    ]


def _benign(natural: Row | None) -> str:
    if natural is None:
        return words.missing("no benign inputs were profiled")
    p999 = words.value_text(natural, "slowdown_p999", times)
    return f"{natural['n']} inputs of the {_said(natural['split'])} split, 99.9th percentile {p999} the mean clean cost"


def _cost_table(summary: Sequence[Row]) -> Table:
    utility = next((str(row["utility_name"]) for row in summary if row.get("utility_name")), "utility")
    table = Table(
        (
            ("n", "how many samples"),
            ("mean slowdown [95 % CI]", "FLOPs over the same sample's clean FLOPs"),
            *((title, f"slowdown, {title}") for title in ("p50", "p95", "p99", "max")),
            ("headroom", "(cost - clean) / (static bound - clean)"),
            ("mean cost", "2 FLOPs per multiply-add"),
            (utility, "on the same inputs"),
            ("agreement", "share of predictions that equal the clean one"),
            ("efficacy, step", "1 - mean cost as a share of the static bound"),
            ("efficacy, trapezoid", "area under the early-exit curve"),
            ("samples per exit", "first exit to last"),
            ("flags", "numbers of the list below"),
        )
    )
    flags = [flag for flag, *_ in _flags(summary)]
    for row in summary:
        mean = table.cell(row, "slowdown_mean", times)
        ci95 = words.interval(row)
        cells = [str(row["n"]), f"{mean} [{ci95}]" if ci95 else mean]
        cells += [table.cell(row, f"slowdown_{key}", times) for key in ("p50", "p95", "p99", "max")]
        cells += [table.cell(row, "headroom_mean", percent)]
        cells += [table.cell(row, "flops_mean", lambda value: quantity(value, "FLOPs"))]
        cells += [table.cell(row, key, percent) for key in ("utility", "agreement")]
        cells += [table.cell(row, key, "{:.3f}".format) for key in ("efficacy_step", "efficacy_eec")]
        cells += [table.cell(row, "exit_histogram", lambda counts: " / ".join(map(str, counts)))]
        numbers = ", ".join(str(flags.index(flag) + 1) for flag in row["flags"])
        table.body.append((words.label(row), row["kind"], [*cells, numbers or "none"]))
    return table


def _clock_table(summary: Sequence[Row]) -> Table:
    heads = ("latency, median [95 % CI]", "latency slowdown", "clock", "energy", "memory")
    table = Table(tuple((head, "batch of 1, clean and attacked interleaved") for head in heads))
    for row in summary:
        cells = [table.cell(row, "latency_s_p50", lambda value: quantity(value, "s"))]
        if ci95 := row.get("latency_ci95"):
            cells[0] += f" [{quantity(ci95[0], 's')} to {quantity(ci95[1], 's')}]"
        cells += [table.cell(row, "latency_slowdown", times)]
        cells += [table.cell(row, "latency_valid", lambda valid: "VALID" if valid else "INVALID")]
        if row.get("latency_valid") is False and row.get("latency_reason"):
            cells[-1] += f": {row['latency_reason']}"
        cells += [table.cell(row, "energy_j", lambda value: quantity(value, "J"))]
        cells += [table.cell(row, "memory_bytes", lambda value: quantity(value, "B"))]
        table.body.append((words.label(row), row["kind"], cells))
    return table


def _effort_table(summary: Sequence[Row]) -> Table:
    heads = ("Linf, max", "L2, mean", "L1, mean", "forward passes", "backward passes", "attack time")
    table = Table(tuple((head, "distances: pixels in [0, 1]; effort: all samples together") for head in heads))
    for row in (row for row in summary if row["kind"] != "clean"):
        cells = [table.cell(row, "linf_max", lambda value: words.eps_text("Linf", value))]
        cells += [table.cell(row, key, "{:.3g}".format) for key in ("l2_mean", "l1_mean")]
        cells += [table.cell(row, key, "{:,}".format) for key in ("forwards", "backwards")]
        cells += [table.cell(row, "attack_seconds", lambda value: quantity(value, "s"))]
        table.body.append((words.label(row), row["kind"], cells))
    return table


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
