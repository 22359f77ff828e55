"""The HTML report of an audit: a page that opens offline, for readers who were not there, and its samples beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
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
from torpor.core.units import symbol, unit_words
from torpor.reports import sidecar
from torpor.reports.kit import charts, tables, words
from torpor.reports.kit.charts import read_records
from torpor.reports.kit.flags import explain_flag
from torpor.reports.kit.plots import plotly_script
from torpor.reports.kit.words import Row, percent, times
from torpor.reports.sections import section_of
from torpor.reports.sections.base import Section
from torpor.reports.verdict import HeadlineChange, moved, verdict

if TYPE_CHECKING:
    import jinja2

    from torpor.audits.verdict.gate import CheckResult

SENT = {
    "text": "Attacked texts contain no special tokens and, where the tokenizer is known, survive it",
    "features": "Attacked spectrograms are what a feature extractor could hand on, but no sound need have them",
    "wave": "Attacked sounds are 16-bit sounds that anybody could send",
}
"""Captions of attacked inputs other than images."""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a complete audit and return its path; see :func:`write`.

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


def write(audit: SavedAudit, name: str, gates: Sequence[CheckResult] = ()) -> Path:
    """Write the report of an audit into its folder and return its path; its samples go into a folder beside it.

    Args:
        audit: as it was read, or under other prices.
        name: of the file, such as ``"report.html"``; samples are in ``report.samples`` then.
        gates: with which the verdict begins, as they were evaluated; none if there are none.

    Raises:
        DataError: if its records cannot be read.
        UsageError: if another process writes the folder.
    """
    parts, path = audit.parts(), audit.folder / name
    section = section_of(parts)
    known = set(audit.columns)
    records = read_records(audit, [*section.columns, *(each for each in sidecar.COLUMNS if each in known)])
    files = sidecar.saved_files(audit.summary, {RowKey.of(row): audit.examples(row) for row in audit.summary})
    curves = partial(curves_of, audit)
    inputs = sidecar.SavedInputs(files, section, records, curves, partial(_seconds, parts))
    # what no text of the audit can know: the page runs and loads only what carries it
    stamp = hashlib.sha256(repr(sorted(parts.items())).encode("utf-8", "replace")).hexdigest()[:32]
    contents = sidecar.contents(parts, records, stamp, f"{path.stem}.samples")
    page = render(parts, inputs, remarks(audit), gates, contents)
    scripts = dict(_scripts(parts, inputs, stamp))
    unfinished = path.with_name(f".report-{os.getpid()}.html")
    beside, old = (unfinished.with_suffix(suffix) for suffix in (".samples", ".old"))
    with FolderLock(audit.folder, patience_s=PATIENCE_S):
        try:
            beside.mkdir()
            for file, text in scripts.items():
                (beside / file).write_text(text, encoding="utf-8")
            unfinished.write_text(page, encoding="utf-8")
            if (place := path.with_name(contents["folder"])).exists():
                place.replace(old)
            beside.replace(place)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
            for folder in (beside, old):
                shutil.rmtree(folder, ignore_errors=True)
    return path


def _scripts(audit: Row, inputs: sidecar.SavedInputs, stamp: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the content of each file beside the page: for each row all samples, and what was saved."""
    article = templates().get_template("sample.html.j2").module
    for place, row in enumerate(audit["summary"]):
        drawn: dict[int, str] = {}
        for path in (path for path, known in inputs.files.items() if known is row):
            drawn = {number: str(article.article(sample)) for number, sample in inputs.of(path)}  # type: ignore[attr-defined]
        index = sidecar.index_of(row, inputs.records, list(drawn))
        yield f"{place}.js", sidecar.script(f"{place}", stamp, index)
        if drawn:
            yield f"{place}.inputs.js", sidecar.script(f"{place}.inputs", stamp, drawn)


def templates() -> jinja2.Environment:
    """Return the templates of all pages; what they are given is escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(
    audit: Row, inputs: sidecar.SavedInputs, remarks: Sequence[str], gates: Sequence[CheckResult], contents: Row
) -> str:
    """Return the report as HTML; every string of the audit is escaped.

    Args:
        audit: its parts.
        inputs: what was saved of them, and the records.
        remarks: sentences below the verdict.
        gates: evaluated, with which the verdict begins.
        contents: what :func:`torpor.reports.sidecar.contents` returned.
    """
    whole, records, section = audit["summary"], inputs.records, inputs.section
    summary = words.undefended(whole)
    defenses = _defenses(whole) if len(summary) < len(whole) else {}
    free = {**audit, "summary": summary}
    bare = section_of(free)
    series, unit = charts.headline_series(summary), symbol(str(audit.get("currency") or "flops"))
    figures = [
        defenses.get("chart"),
        *bare.charts(series, records),
        charts.slowdown_distribution(series, records, unit),
        charts.cost_distribution(free, series, records, unit),
        *charts.searches(series, inputs.curves, unit),
        *bare.later_charts(series),
        *charts.eps_curves(free, section.growth),
    ]
    target = audit["target"]
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            audit=audit,
            target_facts=[(name, value) for name, value in target.items() if value is not None],
            header=_header(audit),
            **_gates(gates),
            verdict=[*verdict(audit), *remarks],
            tiles=_tiles(summary, section, moved(audit)),
            section=section,
            parts=section.parts(),
            unit=unit,
            unit_words=unit_words(unit),
            tables={
                "cost": tables.cost_table(audit, section.main_columns()),
                "spread": tables.spread_table(audit),
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
            samples=inputs.costliest(),
            saved=bool(inputs.files),
            contents=contents,
            embedded=sidecar.embedded,
            threats=[row for row in whole if row["kind"] == "attack"],
            words=words,
            budget_text=budget_text,
            said=_said,
        )
    )


def _header(audit: Row) -> list[tuple[str, str]]:
    """Return what was run, when, for how long and with what."""
    elapsed, environment = audit.get("elapsed") or {}, audit["environment"]
    libraries = {"torpor": "torpor", "python": "Python", "torch": "torch", "transformers": "transformers"}
    versions = [f"{name} {environment[key]}" for key, name in libraries.items() if environment.get(key)]
    device = [environment.get("processor"), environment.get("device")]
    found = [("started", words.moment(_said(elapsed.get("started"))))] if elapsed else []
    found += [("took", words.duration(float(elapsed["seconds"])))] if elapsed else []
    found += [("versions", ", ".join(versions))] if versions else []
    found += [("commit", str(environment["commit"]))] if environment.get("commit") else []
    return [*found, ("on", ", ".join(str(each) for each in device if each) or "not recorded")]


def _gates(results: Sequence[CheckResult]) -> dict[str, Any]:
    """Return what the page shows of gates."""
    if not results:
        return {"gates": [], "outcome": ""}
    from torpor.reports.gate_lines import gate_lines, outcome

    lines = gate_lines(results)
    return {"gates": lines, "outcome": outcome(lines)}


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
    certified = ""
    if words.at_most(worst) is not None:
        most, gap = (words.value_text(worst, f"certified_{key}", times) for key in ("slowdown_mean", "gap"))
        certified = f"; certified bound {most}, {gap} what was found"
    mean = words.confidence(worst) or words.missing("no interval")
    bill = max(words.over_clean(row) or 0.0 for row in summary if row["kind"] == "attack")
    cost = [
        *([(times(bill), "bill", "all inputs together, ratio of means")] if bill else []),
        (words.value_text(worst, "slowdown_max", times), "worst slowdown", f"one sample; p95 {p95}"),
        (words.value_text(worst, "slowdown_mean", times), "mean slowdown", f"{mean}{certified}"),
        (words.value_text(worst, "headroom_mean", percent), "headroom used", "0 % clean, 100 % static bound"),
    ]
    found = [tile for each in ranked for tile in (cost if each.headline == COST else [_moved_tile(each)])]
    found += [] if any(each.headline == COST for each in ranked) else cost
    found += section.tiles(ranked[0].row if ranked else worst, clean)
    unknown = words.missing("").removesuffix("the audit gives no reason")  # why there is no value stands below
    return [tile for tile in found if not tile[0].startswith(unknown)]


def _moved_tile(each: HeadlineChange) -> tuple[str, str, str]:
    """Return a headline other than cost; where none became some there is no factor."""
    factor = each.factor
    if factor is None or factor == float("inf"):
        before, after = each.figures.split(" to ")
        return after, each.headline.title, f"clean {before}, mean per input, by {words.label(each.row)}"
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
    return [(flag, rows, explain_flag(flag)) for flag, rows in carriers.items()]


def _said(value: object) -> str:
    """Return a value of the configuration as text.

    >>> _said([8 / 255, 0.5]), _said(1131456.0), _said(None)
    ('0.0313725, 0.5', '1131456', 'not given')
    """
    if value is None or value == [] or value == {}:
        return "not given"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
