from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import typer
from audit_factory import SLOWDOWNS, write_audit
from typer.testing import CliRunner

from torpor.cli.check import check
from torpor.cli.compare import compare
from torpor.core.errors import UsageError

app = typer.Typer()
app.command()(check)
app.command()(compare)


def invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, Exception):  # not SystemExit; torpor's own main() turns these into exit code 2
        raise result.exception
    return result.exit_code, result.output


def last(output: str) -> str:
    return output.strip().splitlines()[-1]


def test_pass(tmp_path: Path) -> None:
    code, output = invoke("check", write_audit(tmp_path), "p95(slowdown) < 2", "mean(headroom) < 50%")
    assert (code, last(output)) == (0, "PASS")


def test_fail(tmp_path: Path) -> None:
    code, output = invoke("check", write_audit(tmp_path), "mean(slowdown) < 1.01", "max(slowdown) < 9")
    assert (code, last(output)) == (10, "FAIL")
    assert "1.4" in output  # the mean of deepsloth
    assert "LLM06" in output


def test_inconclusive_gate(tmp_path: Path) -> None:
    code, output = invoke("check", write_audit(tmp_path), "energy_j < 1J", "max(slowdown) < 9")
    assert code == 11
    assert last(output) == "INCONCLUSIVE: energy_j was not measured: no energy meter on this device"


def test_a_fail_beats_an_inconclusive_gate(tmp_path: Path) -> None:
    assert invoke("check", write_audit(tmp_path), "energy_j < 1J", "max(slowdown) < 1")[0] == 10


def test_an_interrupted_audit_is_inconclusive_and_still_reported(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    junit, sarif = tmp_path / "j.xml", tmp_path / "s.sarif"
    code, output = invoke("check", tmp_path, "max(slowdown) < 9", "--junit", junit, "--sarif", sarif)
    assert code == 11
    assert last(output).startswith("INCONCLUSIVE: expected a finished audit")
    assert ET.parse(junit).getroot().attrib["errors"] == "1"
    assert json.loads(sarif.read_text())["runs"][0]["results"][0]["level"] == "warning"
    assert invoke("check", tmp_path, "--baseline", write_audit(tmp_path / "old"))[0] == 11


def test_an_interrupted_baseline_does_not_hide_a_failed_gate(tmp_path: Path) -> None:
    run, old = write_audit(tmp_path / "new"), tmp_path / "old"
    old.mkdir()
    (old / "plan.json").write_text("{}")
    assert invoke("check", run, "max(slowdown) < 9", "--baseline", old)[0] == 11
    assert invoke("check", run, "max(slowdown) < 1", "--baseline", old)[0] == 10


def test_baseline_with_tolerance(tmp_path: Path) -> None:
    old = write_audit(tmp_path / "old")
    worse = {**SLOWDOWNS, "deepsloth": tuple(1.04 * value for value in SLOWDOWNS["deepsloth"])}
    new = write_audit(tmp_path / "new", worse)
    assert invoke("check", old, "--baseline", old)[0] == 0
    assert invoke("check", new, "--baseline", old)[0] == 10  # headroom grew by more than 5 percent
    assert invoke("check", new, "--baseline", old, "--tolerance", "0.5")[0] == 0
    assert invoke("check", new, "--baseline", old, "--tolerance", "0")[0] == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected a gate or --baseline"),
        (["mean(slowdwn) < 1"], "did you mean slowdown?"),
        (["mean(slowdown) < 1ms"], "expected no unit, x, %"),
        (["mean(slowdown) < 1", "--tolerance", "0.1"], "expected --baseline with --tolerance"),
        (["mean(slowdown) < 1", "--baseline", "nowhere"], "no folder"),
        (["mean(slowdown) < 1", "--accept-flag", "no-efect"], "did you mean no-effect?"),
        (["mean(slowdown) < 1", "--junit", "nowhere/at/all.xml"], "expected a writable file"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        invoke("check", write_audit(tmp_path), *arguments)


def test_a_false_gate_is_wrong_usage_even_on_an_interrupted_audit(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(UsageError, match="did you mean"):
        invoke("check", tmp_path, "mean(slowdwn) < 1")


def test_a_flag_is_accepted_by_name_and_every_report_says_so(tmp_path: Path) -> None:
    run = write_audit(tmp_path / "run", edits={"deepsloth": {"flags": ["surrogate-not-tracking", "no-effect"]}})
    junit, sarif = tmp_path / "j.xml", tmp_path / "s.sarif"
    assert invoke("check", run, "max(slowdown) < 3")[0] == 11
    code, output = invoke("check", run, "max(slowdown) < 3", "--accept-flag", "surrogate-not-tracking")
    assert code == 11
    assert last(output).endswith("the row is flagged no-effect")
    both = ("--accept-flag", "surrogate-not-tracking", "--accept-flag", "no-effect")
    code, output = invoke("check", run, "max(slowdown) < 3", *both, "--junit", junit, "--sarif", sarif)
    assert (code, last(output)) == (0, "PASS")
    for flag in both[1::2]:
        assert (
            f"max(slowdown) < 3 [deepsloth, Linf 8/255]: passes although flagged {flag}, which was accepted" in output
        )
    found = [each.attrib for each in ET.parse(junit).getroot().iter("property")]
    assert [each["value"] for each in found if each["name"] == "accepted-flag"] == [
        "no-effect",
        "surrogate-not-tracking",
    ]
    said = json.loads(sarif.read_text())["runs"][0]["properties"]["accepted_flags"]
    assert said[0] == {"flag": "no-effect", "checks": ["max(slowdown) < 3 [deepsloth, Linf 8/255]"]}


def test_a_flag_is_accepted_against_a_baseline_too(tmp_path: Path) -> None:
    old = write_audit(tmp_path / "old")
    new = write_audit(tmp_path / "new", edits={"deepsloth": {"flags": ["black-box-beats-white-box"]}})
    assert invoke("check", new, "--baseline", old)[0] == 11
    code, output = invoke("check", new, "--baseline", old, "--accept-flag", "black-box-beats-white-box")
    assert code == 0
    assert "passes although flagged black-box-beats-white-box" in output


def test_reports_are_written(tmp_path: Path) -> None:
    junit, sarif = tmp_path / "j.xml", tmp_path / "s.sarif"
    run = write_audit(tmp_path / "run")
    assert invoke("check", run, "max(slowdown) < 1.5", "--junit", junit, "--sarif", sarif)[0] == 10
    root = ET.parse(junit).getroot()
    assert (root.attrib["tests"], root.attrib["failures"]) == ("2", "1")
    (found,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert found["ruleId"] == "gate/max(slowdown)"
    assert "LLM06:2026" in found["properties"]["tags"]


def test_compare_as_json(tmp_path: Path) -> None:
    one = write_audit(tmp_path / "one")
    two = write_audit(tmp_path / "two", {"deepsloth": (1.0, 1.0, 1.0, 1.0)})
    code, output = invoke("compare", one, two, "--json")
    assert code == 0
    rows = json.loads(output)["rows"]
    assert [row["attack"] for row in rows] == ["clean", "deepsloth", "noise-search", "control-noise"]
    assert [run["slowdown_mean"] for run in rows[1]["runs"]] == [pytest.approx(1.4), 1.0]
    assert [run["slowdown_max"] for run in rows[2]["runs"]] == [1.1, None]
    assert rows[1]["norm"] == "Linf"
    assert rows[0]["runs"][1]["run"] == str(two)


def test_compare_as_a_table(tmp_path: Path) -> None:
    one, two = write_audit(tmp_path / "one"), write_audit(tmp_path / "two", target="other")
    code, output = invoke("compare", one, two)
    assert code == 0
    assert "deepsloth" in output
    assert "run 2:" in output
    with pytest.raises(UsageError, match="two or more"):
        invoke("compare", one)


def test_the_commands_load_nothing_heavy() -> None:
    code = "import sys, torpor.cli.check, torpor.cli.compare; print({'torch', 'pyarrow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
