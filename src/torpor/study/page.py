"""The study's result as Markdown and as one HTML page: our figures beside those of the artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torpor.audits.store import write_atomically
from torpor.core.budget_text import budget_text
from torpor.reports.defended import ATTACKERS, defense_rows
from torpor.reports.words import is_missing, percent, times
from torpor.study.run import Result

Cells = list[str]
NOTES = (
    "Every attack is run twice against each defense: *blind*, crafted without it, and *adaptive*, through it, with a "
    "transform's surrogate gradient and against a detector's alarm. Slowdown is the mean over samples of FLOPs, those "
    "of the defense included, over the FLOPs of the same clean input without any defense.",
    "Detectors learn from the train split, are calibrated on clean inputs of the validation split and judged on the "
    "test split; a clean input and its attacked twin are on one side. Only attacks that raised the cost leave a twin. "
    "Our SVM reads the target's own features, since no ImageNet weights come with torpor, and is stronger for it.",
    "Figures marked *theirs* are of the study's artifact, on other networks and data: who wins can be compared, the "
    "figures cannot. Their JPEG and smoothing columns of D1 are one mixed test; their ground truth of D3 is the "
    "tracker's own clean output, ours is what is really there; none of their attackers is adaptive.",
)


def write_pages(results: Sequence[Result], out: Path, command: str) -> tuple[Path, Path]:
    """Write ``study.md`` and ``study.html`` into ``out`` and return their paths."""
    import jinja2

    theirs = json.loads((Path(__file__).parent / "artifact.json").read_text(encoding="utf-8"))
    tables = [
        ("Attacks and defenses", *_defense_table(results, theirs)),
        ("Detectors, judged on their own", *_detector_table(results, theirs)),
        ("Cells that are empty, and why", ("case", "defense", "reason"), _missing(results)),
    ]
    environment: Mapping[str, Any] = next((result.audit["environment"] for result in results if result.audit), {})
    facts = {
        "command": command,
        "hardware": f"{environment.get('processor')}, {environment.get('threads')} threads",
        "versions": f"torpor {environment.get('torpor')}, torch {environment.get('torch')}",
        "theirs": theirs["source"],
    }
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
    )
    markdown, html = out / "study.md", out / "study.html"
    write_atomically(html, pages.get_template("study.html.j2").render(tables=tables, facts=facts, notes=NOTES))
    write_atomically(markdown, _markdown(tables, facts))
    return markdown, html


def _markdown(tables: Sequence[tuple[str, Sequence[str], Sequence[Cells]]], facts: Mapping[str, str]) -> str:
    lines = ["# The study, run again", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    for note in NOTES:
        lines += [note, ""]
    for title, heads, rows in tables:
        lines += [f"## {title}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def _defense_table(results: Sequence[Result], theirs: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Cells]]:
    """Return a row for each case and defense."""
    heads = (
        *("case", "attack", "n", "defense", "clean cost", "clean utility", "clean refused"),
        *(f"{who}: {what}" for who in ATTACKERS for what in ("slowdown", "utility", "refused")),
        "theirs",
    )
    rows = []
    for result in results:
        if result.audit is None:
            continue
        summary = result.audit["summary"]
        attacked = next(row for row in summary if row["kind"] == "attack")
        for row in defense_rows(summary):
            cells = [result.case.name, f"{attacked['attack']}, {budget_text(attacked)}", str(attacked["n"])]
            cells += [str(row["defense"]), _form(row.get("overhead"), times), _form(row.get("utility"), percent)]
            cells.append(_form(row.get("refused_rate"), percent))
            for who in ATTACKERS:
                cells.append(_form(row.get(f"{who}_slowdown_mean"), times))
                cells += [_form(row.get(f"{who}_{key}"), percent) for key in ("utility", "refused_rate")]
            rows.append([*cells, _their_cost(result, attacked, str(row["defense"]), theirs)])
    return heads, rows


def _their_cost(result: Result, attacked: Mapping[str, Any], defense: str, theirs: Mapping[str, Any]) -> str:
    """Return what the artifact measured in this cell, if anything."""
    if result.case.attack == "slowtrack" and defense in theirs["tracking"]:
        known = theirs["tracking"][defense]
        return f"time {times(known['slowdown'])}, MOTA {known['mota']:.2f} (clean {known['clean_mota']:.2f})"
    loops = theirs["loops"].get(f"{result.case.theirs} {attacked['norm']}")
    if loops is not None and defense == "none":
        return f"I-Loops {loops:.0f} % (ours {attacked.get('i_loops_mean', 0):.0f} %)"
    return "not in the artifact"


def _detector_table(results: Sequence[Result], theirs: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Cells]]:
    """Return a row for each case and detector."""
    heads = (
        *(
            "case",
            "detector",
            "twins",
            "balanced accuracy (own threshold, else chosen on validation)",
            "AUROC [95 % CI]",
            "TPR at 1 % FPR",
            "TPR at 5 % FPR",
        ),
        *("cost, of a clean input", "theirs, balanced accuracy of an SVM"),
    )
    rows = []
    for result in results:
        if result.detectors is None:
            continue
        norm = result.case.norm or ""
        known = theirs["detectors"].get(f"{result.case.theirs} {norm}".strip(), {})
        said = ", ".join(f"{name} {value:.1f} %" for name, value in known.items()) or "not in the artifact"
        for verdict in result.detectors["verdicts"]:
            low, high = verdict["auroc_ci95"]
            rows.append(
                [
                    *(result.case.name, verdict["detector"], str(verdict["count"])),
                    _form(_first(verdict, "balanced_accuracy", "balanced_accuracy_chosen"), percent),
                    f"{verdict['auroc']:.3f} [{low:.3f} to {high:.3f}]",
                    _form(verdict["tpr_1"], percent),
                    _form(verdict["tpr_5"], percent),
                    f"{100 * result.detectors['detectors'][verdict['detector']]['share']:.2g} %",
                    said,
                ]
            )
    return heads, rows


def _missing(results: Sequence[Result]) -> list[Cells]:
    return [[result.case.name, name or "all", why] for result in results for name, why in result.missing.items()]


def _first(row: Mapping[str, Any], *keys: str) -> Any:  # noqa: ANN401 - a number or None
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _form(value: object, form: Callable[[float], str]) -> str:
    return "n/a" if is_missing(value) else form(float(str(value)))
