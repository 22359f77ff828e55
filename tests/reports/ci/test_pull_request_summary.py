"""Verdicts on the page of a pull request; findings at the code that builds the target; checks that only warn."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from audit_factory import write_audit
from toy_audits import call

from torpor.audits.verdict.gate import CheckResult, Verdict, overall
from torpor.reports.ci.own_factory import own_factory
from torpor.reports.ci.summary import summary_markdown


def result(check: str, verdict: Verdict, row: str = "pgd", *, warns: bool = False) -> CheckResult:
    return CheckResult(check, "gate/x", "toy", row, 3.0, "3x", check.partition(" ")[2], verdict, warns=warns)


def test_what_failed_comes_first_and_nothing_is_markup() -> None:
    evil = result("max(slowdown) < 9x", Verdict.FAIL, "a|b<script>[x](y)`*_\n# z")
    text = summary_markdown([result("mean(slowdown) < 4x", Verdict.PASS), evil], Path("run"))
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows[0].startswith("| `max(slowdown)` | a\\|b&lt;script&gt;\\[x\\](y)\\`\\*\\_")
    assert rows[0].endswith("| 3x | &lt; 9x | \N{CROSS MARK} fail |")
    assert rows[1].endswith("pass |")
    assert text.startswith("## torpor: \N{CROSS MARK} fail\n")


def test_a_reason_is_said_once_for_all_checks_that_it_is_of() -> None:
    found = [result("max(slowdown) < 4x", Verdict.INCONCLUSIVE, row) for row in ("pgd", "square")]
    text = summary_markdown([replace(each, reason="a pass is no evidence") for each in found], Path("run"))
    assert text.count("a pass is no evidence") == 1
    assert "- `max(slowdown) < 4x` [pgd], `max(slowdown) < 4x` [square]: a pass is no evidence\n" in text


def test_the_summary_is_appended_to_what_is_there(tmp_path: Path) -> None:
    page = tmp_path / "summary.md"
    page.write_text("# Build\n")
    assert call("check", write_audit(tmp_path / "run"), "max(slowdown) < 1.5", "--summary", page)[0] == 10
    text = page.read_text()
    assert text.startswith("# Build\n## torpor: ")
    assert "Target `toy`, 4 samples." in text
    assert "| 2x | &lt; 1.5x |" in text
    assert "torpor audit toy" in text
    assert "expected a writable file" in call("check", tmp_path / "run", "max(slowdown) < 3", "--summary", tmp_path)[2]


def test_a_gate_that_only_warns_fails_nothing_and_is_reported(tmp_path: Path) -> None:
    run, junit, sarif = write_audit(tmp_path / "run"), tmp_path / "j.xml", tmp_path / "s.sarif"
    words = ("check", run, "max(slowdown) < 3", "--warn", "mean(slowdown) < 1.01", "--junit", junit, "--sarif", sarif)
    code, out, _ = call(*words)
    assert (code, out.splitlines()[-1]) == (0, "PASS")
    assert "warning" in out
    assert ET.parse(junit).getroot().attrib["failures"] == "0"
    held = json.loads(sarif.read_text())["runs"][0]
    assert {each["level"] for each in held["results"]} == {"warning"}
    scores = {each["id"]: each["properties"]["security-severity"] for each in held["tool"]["driver"]["rules"]}
    assert scores == {"gate/max(slowdown)": "5.0", "gate/mean(slowdown)": "5.0"}
    assert call("check", run, "--warn", "mean(slowdown) < 1.01")[0] == 0
    assert call("check", run, "mean(slowdown) < 1.01", "--warn", "mean(slowdown) < 1.01")[0] == 10
    assert overall([result("a < 1", Verdict.FAIL, warns=True), result("b < 1", Verdict.PASS)]) is Verdict.PASS


@pytest.mark.parametrize("place", ["mine.py", "src/mine.py", "src/mine/__init__.py"])
def test_findings_point_at_the_function_that_builds_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("import nothing_that_exists\n\n\ndef build():\n    pass\n\n\nother = build\n")
    run = write_audit(Path("run"), config={"target": "mine:build"})
    assert call("check", run, "max(slowdown) < 1.5", "--sarif", "s.sarif")[0] == 10
    held = json.loads(Path("s.sarif").read_text())["runs"][0]
    place_of = held["results"][0]["locations"][0]["physicalLocation"]
    assert place_of == {"artifactLocation": {"uri": place}, "region": {"startLine": 4}}
    related = held["results"][0]["relatedLocations"][0]["physicalLocation"]
    assert related["artifactLocation"]["uri"] == "run/audit.json"
    assert {each["properties"]["security-severity"] for each in held["tool"]["driver"]["rules"]} == {"7.5"}
    assert own_factory("mine:other") == (Path(place), 8)
    assert own_factory("mine:nowhere") == (Path(place), 1)
    assert own_factory("theirs:build") is own_factory("sdn-digits") is own_factory("../mine:build") is None


def test_values_and_limits_have_units_and_nothing_is_always_one(tmp_path: Path) -> None:
    run = write_audit(tmp_path / "run")
    out = call("check", run, "max(slowdown) < 3", "clean: mean(cost) < 20e6", "latency_s_p50 < 10ms")[1]
    words = out.split()
    assert {"2x", "3x", "1e+06", "2e+07"} <= set(words)
    assert "8 ms < 10 ms" in " ".join(words)
    assert words.count("FLOPs") == 2
    out = call("check", run, "--baseline", run)[1]
    clean = [line for line in out.splitlines() if " clean " in line]
    assert len(clean) == 2  # cost and utility
    assert not any("slowdown" in line for line in clean)
