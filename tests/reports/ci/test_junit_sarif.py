from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from torpor.audits.read import SavedAudit
from torpor.audits.verdict.gate import CheckResult, Verdict
from torpor.reports.ci.junit import junit_xml
from torpor.reports.ci.sarif import sarif_json

TAGS = {"owasp": ("LLM06:2026",), "atlas": ("AML.T0029", "AML.T0034"), "cwe": ("CWE-400",)}


def result(
    verdict: Verdict, check: str = "p95(slowdown) < 1.5", reason: str = "", row: str = "deepsloth"
) -> CheckResult:
    return CheckResult(check, f"gate/{check.split()[0]}", "toy", row, 1.7, "1.7", "< 1.5", verdict, reason, TAGS)


RESULTS = [
    result(Verdict.PASS, "mean(slowdown) < 1.5"),
    result(Verdict.FAIL),
    result(Verdict.FAIL, row="apgd"),
    result(Verdict.INCONCLUSIVE, "latency_s_p50 < 1ms", "noisy <clock> & more"),
]


def sarif_run(results: list[CheckResult], audit: SavedAudit | Path = Path("run")) -> dict[str, Any]:
    log = json.loads(sarif_json(results, audit))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def test_junit_counts_and_children() -> None:
    root = ET.fromstring(junit_xml(RESULTS))
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    assert {key: suite.attrib[key] for key in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "2",
        "errors": "1",
    }
    kinds = [[child.tag for child in case if child.tag != "properties"] for case in suite]
    assert kinds == [[], ["failure"], ["failure"], ["error"]]
    failure, error = suite[1].find("failure"), suite[3].find("error")
    assert failure is not None
    assert failure.attrib["message"] == "got 1.7, expected < 1.5"
    assert error is not None
    assert error.attrib["message"] == "noisy <clock> & more"
    properties = {(p.attrib["name"], p.attrib["value"]) for p in suite[1].iter("property")}
    assert {("owasp", "LLM06:2026"), ("atlas", "AML.T0034"), ("cwe", "CWE-400")} <= properties


@given(st.text(alphabet=st.characters(codec=None)), st.text(alphabet=st.characters(codec=None)))
def test_any_text_gives_well_formed_files(check: str, reason: str) -> None:
    odd = CheckResult(check, "gate/x", check, reason, None, "", "", Verdict.INCONCLUSIVE, reason, {check: (reason,)})
    case = ET.fromstring(junit_xml([odd]).encode())[0][0]
    if check.isprintable() and check.isascii():
        assert case.attrib["name"] == check
    json.loads(sarif_json([odd], Path("run")).encode())


def test_sarif_has_what_the_standard_requires() -> None:
    run = sarif_run(RESULTS)
    driver = run["tool"]["driver"]
    assert driver["name"] == "torpor"
    ids = [rule["id"] for rule in driver["rules"]]
    assert ids == sorted(set(ids))
    assert all(rule["shortDescription"]["text"] and rule["fullDescription"]["text"] for rule in driver["rules"])
    assert [found["level"] for found in run["results"]] == ["error", "error", "warning"]
    for found in run["results"]:
        assert ids[found["ruleIndex"]] == found["ruleId"]
        assert found["message"]["text"]
        (location,) = found["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "run/audit.json"
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        tags = found["properties"]["tags"]
        assert len(tags) == len(set(tags))
        assert {"LLM06:2026", "external/cwe/cwe-400"} <= set(tags)
    prints = [found["partialFingerprints"]["torporCheck/v1"] for found in run["results"]]
    assert len(set(prints)) == 3


def test_sarif_taxa_point_into_the_taxonomies() -> None:
    run = sarif_run(RESULTS)
    assert [taxonomy["name"] for taxonomy in run["taxonomies"]] == ["MITRE ATLAS", "CWE", "OWASP"]
    for found in run["results"]:
        assert len(found["taxa"]) == 4
        for taxon in found["taxa"]:
            taxonomy = run["taxonomies"][taxon["toolComponent"]["index"]]
            assert taxonomy["name"] == taxon["toolComponent"]["name"]
            assert taxonomy["taxa"][taxon["index"]]["id"] == taxon["id"]


def test_sarif_of_passes_has_rules_but_no_results(tmp_path: Path) -> None:
    audit = SavedAudit(tmp_path / "my run", {}, {"name": "toy"}, {}, None, [])
    run = sarif_run([RESULTS[0]], audit)
    assert run["results"] == []
    assert "taxonomies" not in run
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["gate/mean(slowdown)"]
    assert run["properties"] == {"verdicts": {"pass": 1, "fail": 0, "inconclusive": 0}, "target": "toy"}
    failed = sarif_run([RESULTS[1]], audit)["results"][0]
    uri = failed["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.startswith("file:///")
    assert uri.endswith("my%20run/audit.json")
