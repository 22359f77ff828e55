from __future__ import annotations

import io
from pathlib import Path

import pytest
from report_factory import make_audit
from rich.console import Console

from torpor.audits.read import read_audit
from torpor.core.measures import Measure
from torpor.reports.console import summary_table, verdict_line
from torpor.reports.sections import section_of


def printed(folder: Path, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(summary_table(read_audit(folder).parts()))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_every_row_is_there_whole_at_any_width(tmp_path: Path, width: int) -> None:
    text = printed(make_audit(tmp_path / "run"), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for name in ("clean", "deepsloth", "square", "control-noise", "control-flat", "control-shuffled"):
        assert any(line.split()[0] == name for line in lines if line.strip())
    assert text.count("Linf 4/255") == 2
    assert "…" not in text


def test_flags_are_numbered_and_explained_below(tmp_path: Path) -> None:
    lines = printed(make_audit(tmp_path / "run"), 120).splitlines()
    flagged = [line for line in lines if line.startswith("square")]
    assert flagged
    assert all(line.split()[-1] == "1" for line in flagged)
    assert all(line.split()[-1] == "-" for line in lines if line.startswith("deepsloth"))
    assert any(line.startswith("flag 1, budget-unused: ") for line in lines)


def test_the_verdict_is_one_line_that_names_the_worst_attack(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run")
    line = verdict_line(read_audit(folder).parts())
    assert "\n" not in line
    worst = max(row["slowdown_mean"] for row in read_audit(folder).summary if row["kind"] == "attack")
    assert f"mean of ratios {worst:.2f}x" in line
    assert line == verdict_line(read_audit(folder).parts())


def test_what_a_plug_in_s_measure_lacks_is_explained_by_the_measure(tmp_path: Path) -> None:
    """A family that this package has never heard of says itself what a missing value means."""
    audit = read_audit(make_audit(tmp_path / "run")).parts()
    own = Measure("hops_mean", "row", "count", "hops", "Mean hops.", null="nothing hopped", on_console=True)
    audit |= {"target": {**audit["target"], "family": "hopping"}, "measures": (own,)}
    for row in audit["summary"]:
        row["hops_mean"] = None
    section = section_of(audit)
    assert "hops_mean: nothing hopped" in str(summary_table(audit).caption)
    assert "nothing hopped" in " ".join(section.sentences(audit["summary"][1], audit["summary"][0]))
    assert section.parts()[0].table.hidden == {"not measured: nothing hopped": ["hops"]}
