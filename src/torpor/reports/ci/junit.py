"""Verdicts as JUnit XML, which continuous-integration servers show as tests."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from torpor.audits.verdict.gate import CheckResult, Verdict
from torpor.reports.kit.printable import printable

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(results: Sequence[CheckResult]) -> str:
    """Write one test case per check and row: a failed gate is a failure, an inconclusive one an error.

    The taxonomy's tags and the measured value are properties of the test case. Characters that XML cannot hold are
    replaced by U+FFFD. A check that only warns is a test that passes, with the property ``severity``.

    >>> ok = CheckResult("p95(slowdown) < 2", "gate/p95(slowdown)", "toy", "deepsloth", 1.5, "1.5", "< 2", Verdict.PASS)
    >>> ET.fromstring(junit_xml([ok])).attrib["failures"]
    '0'
    """
    failures = sum(result.verdict is Verdict.FAIL for result in results if not result.warns)
    errors = sum(result.verdict is Verdict.INCONCLUSIVE for result in results if not result.warns)
    counts = {"tests": str(len(results)), "failures": str(failures), "errors": str(errors)}
    root = ET.Element("testsuites", {"name": "torpor check", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": "torpor check", **counts, "skipped": "0"})
    for result in results:
        _add_case(suite, result)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add_case(suite: ET.Element, result: CheckResult) -> None:
    place = "/".join(part for part in (result.target, result.row) if part) or "audit"
    case = ET.SubElement(suite, "testcase", {"classname": _clean(place), "name": _clean(result.check)})
    properties = ET.SubElement(case, "properties")
    pairs = [(taxonomy, tag) for taxonomy, tags in result.tags.items() for tag in tags]
    pairs += [("accepted-flag", flag) for flag in result.accepted] + [("note", note) for note in result.notes]
    for name, value in [("value", result.shown), ("limit", result.limit), *pairs]:
        ET.SubElement(properties, "property", {"name": _clean(name), "value": _clean(value)})
    if result.warns:
        ET.SubElement(properties, "property", {"name": "severity", "value": "warning"})
        if result.verdict is not Verdict.PASS:
            text = f"warning: got {result.shown}, expected {result.limit} {result.reason}".rstrip()
            ET.SubElement(case, "system-out").text = _clean(text)
    elif result.verdict is Verdict.FAIL:
        text = f"got {result.shown}, expected {result.limit}"
        ET.SubElement(case, "failure", {"type": "fail", "message": _clean(text)}).text = _clean(text)
    elif result.verdict is Verdict.INCONCLUSIVE:
        text = _clean(result.reason)
        ET.SubElement(case, "error", {"type": "inconclusive", "message": text}).text = text


def _clean(text: str) -> str:
    return printable(_NOT_XML.sub("\ufffd", text), lines=True)  # logs of CI servers are terminals too
