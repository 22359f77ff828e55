"""The study's result as Markdown and as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torpor.audits.lock import PATIENCE_S, FolderLock
from torpor.core.files import write_atomically
from torpor.study.run import Result
from torpor.study.tables import StudyTable, case_table, detector_table, missing_table

HERE = Path(__file__).parent
NOTES = (
    "Every attack is run twice against each defense: *non-adaptive*, crafted without it, and *adaptive*, through "
    "it, with a transform's surrogate gradient and against a detector's alarm. A slowdown is the mean over samples "
    "of FLOPs, those of the defense included, over the FLOPs of the same clean input without any defense, and its "
    "95 % interval. Efficacy, I-Loops and tracks are those of the target alone.",
    "Detectors in front of a target are set to reject 5 % of clean validation inputs. After a transform they keep "
    "what they learned and their threshold from inputs that were not transformed, as in the study, so that the rate"
    " is no longer promised. Their balanced accuracy is the mean of the shares of clean inputs that pass and of "
    "inputs that a non-adaptive attacker made costlier (how many: in parentheses) that are rejected. They learn "
    "from the train split and are judged on the test split; a clean input and its attacked version are on one side."
    " Our SVM reads the target's own features, since no ImageNet weights come with torpor.",
    "Figures marked *theirs* are of the study's artifact, on other networks and data, detectors at their own "
    "threshold: who wins can be compared, the figures cannot. Their JPEG and smoothing columns of D1 are one mixed "
    "test; their ground truth of D3 is the tracker's own clean output, ours comes from the generator of the scenes; "
    "none of their attackers is adaptive.",
)


def write_pages(results: Sequence[Result], out: Path, command: str) -> tuple[Path, Path]:
    """Write ``study.md`` and ``study.html`` into ``out`` and return their paths."""
    import jinja2

    from torpor.reports.kit.plots import plotly_script

    theirs = json.loads((HERE / "artifact.json").read_text(encoding="utf-8"))
    found = [table for result in results if (table := case_table(result, theirs))]
    tables = [*found, detector_table(results, theirs), missing_table(results)]
    environment: Mapping[str, Any] = next((result.audit["environment"] for result in results if result.audit), {})
    facts = {
        "command": command,
        "hardware": f"{environment.get('processor')}, {environment.get('threads')} threads",
        "versions": f"torpor {environment.get('torpor')}, torch {environment.get('torch')}",
        "theirs": theirs["source"],
    }
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE / "templates", HERE.parent / "reports" / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markdown, html = out / "study.md", out / "study.html"
    page = pages.get_template("study.html.j2").render(
        tables=tables, facts=facts, notes=NOTES, plotly_js=plotly_script()
    )
    with FolderLock(out, patience_s=PATIENCE_S):
        write_atomically(html, page)
        write_atomically(markdown, _markdown(tables, facts))
    return markdown, html


def _markdown(tables: Sequence[StudyTable], facts: Mapping[str, str]) -> str:
    lines = ["# The study, run again", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    for note in NOTES:
        lines += [note, ""]
    for table in tables:
        lines += [f"## {table.title}", "", *([f"{table.remark}.", ""] if table.remark else [])]
        lines += [f"| {' | '.join(table.heads)} |", f"|{'---|' * len(table.heads)}"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table.rows]
        lines.append("")
    return "\n".join(lines)
