"""Pages of several audits: the comparison of two, and the leaderboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_factory import make_audit
from report_pages import Elements
from step_factory import make_step_audit
from typer.testing import CliRunner

from torpor.audits.read import read_audit
from torpor.cli.app import app
from torpor.core.errors import UsageError
from torpor.reports.comparison import write_comparison
from torpor.reports.leaderboard import entries, remarks

HOSTILE = "<script>alert(1)</script>"


def changed(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    path = folder / "audit.json"
    audit = json.loads(path.read_text())
    for row in audit["summary"]:
        row.update(changes)
    path.write_text(json.dumps(audit))
    return folder


def test_a_comparison_says_what_differs_and_what_was_run_in_another_way(tmp_path: Path) -> None:
    one = read_audit(make_audit(tmp_path / "one"))
    config = {**one.config, "seed": 1, "target": HOSTILE}
    two = read_audit(make_audit(tmp_path / "two", config=config))
    page = Elements(write_comparison(one, two, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert {"verdict", "plan", "differences"} <= page.ids()
    assert "0 of" in page.text
    assert HOSTILE in page.text
    assert page.scripts == []
    assert "No attack has another mean slowdown than before" in page.text


def test_audits_without_a_common_row_are_refused(tmp_path: Path) -> None:
    one, two = (read_audit(make_audit(tmp_path / name, eps=(eps,))) for name, eps in (("one", 0.1), ("two", 0.2)))
    page = write_comparison(one, two, tmp_path / "page.html")  # the clean row and the controls without a budget
    assert "Only in the first: control-noise" in page.read_text(encoding="utf-8")
    for audit in (one, two):
        other = read_audit(make_step_audit(tmp_path / f"{audit.folder.name}-steps"))
        alone = [row for row in other.summary if row["attack"] != "clean"]
        with pytest.raises(UsageError, match="expected audits with some row in common"):
            write_comparison(audit, type(other)(other.folder, **{**other.parts(), "summary": alone}), tmp_path / "x")


def test_the_command_writes_the_page_and_refuses_three(tmp_path: Path) -> None:
    folders = [str(make_audit(tmp_path / name)) for name in ("one", "two", "three")]
    found = CliRunner().invoke(app, ["compare", *folders[:2], "--html", str(tmp_path / "c.html")])
    assert found.exit_code == 0
    assert (tmp_path / "c.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    refused = CliRunner().invoke(app, ["compare", *folders, "--html", str(tmp_path / "d.html")])
    assert "expected two audits with --html, got 3" in str(refused.exception)


def test_the_leaderboard_ranks_targets_and_their_defenses(tmp_path: Path) -> None:
    one, two = read_audit(make_audit(tmp_path / "one")), read_audit(make_step_audit(tmp_path / "two"))
    clean, attack = ({**row} for row in one.summary[:2])
    defended = [
        {**clean, "defense": "jpeg"},
        {**attack, "defense": "jpeg", "attacker": "adaptive", "slowdown_mean": 1.2},
    ]
    one = type(one)(one.folder, **{**one.parts(), "summary": [*one.summary, *defended]})
    ranked = entries([one, two])
    assert (ranked[0].target, ranked[0].defense) == ("toy", "jpeg")
    assert {(each.target, each.defense) for each in ranked} == {("toy", "none"), ("toy", "jpeg"), ("toy-steps", "none")}
    known = [each.slowdown_mean for each in ranked]
    assert known == sorted(known, key=lambda value: value or 0.0)
    assert any(line.startswith("Not run alike: attacks") for line in remarks([one, two]))
    dollars = type(two)(two.folder, **{**two.parts(), "currency": "dollars"})
    with pytest.raises(UsageError, match="expected audits in one currency, got flops and dollars"):
        entries([one, dollars])


def test_the_leaderboard_command_prints_json_and_writes_a_page(tmp_path: Path) -> None:
    run, page = changed(make_audit(tmp_path / "run"), flags=["no-effect"]), tmp_path / "board.html"
    found = CliRunner().invoke(app, ["leaderboard", str(run), "--json", "--html", str(page)])
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert document["schema"] == "torpor.leaderboard/1"
    (entry,) = document["entries"]
    assert entry["rank"] == 1
    assert entry["flags"] == ["no-effect"]
    assert entry["bill"] == pytest.approx(
        read_audit(run).summary[2]["cost_mean"] / read_audit(run).summary[2]["cost_clean_mean"]
    )
    assert "&gt;= 2.42x" in page.read_text(encoding="utf-8")
