"""Verdicts as SARIF 2.1.0, which code-scanning services read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torpor
from torpor.audits.read import SavedAudit
from torpor.audits.verdict.gate import CheckResult, Verdict
from torpor.reports.ci.own_factory import own_factory

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
TAXONOMIES = {"owasp": "OWASP", "atlas": "MITRE ATLAS", "cwe": "CWE"}
"""Names of the taxonomies that rows are tagged with."""
HIGH, MEDIUM = "7.5", "5.0"
"""Scores of a vulnerability that code-scanning services show as high and as medium."""


def sarif_json(results: Sequence[CheckResult], audit: SavedAudit | Path) -> str:
    """Write one SARIF result per check that failed (``error``) or was inconclusive or only warns (``warning``).

    Results point at the function that builds the target, where it is one of the user's own, and at the audit beside it.

    Checks that passed leave only their rule, since a service shows every result as a finding. A row's tags become
    taxa of the result, and tags in its property bag.

    Args:
        results: what was checked.
        audit: the audit that was checked, its folder if it could not be read, or the file of what was checked instead.

    >>> bad = CheckResult("max(slowdown) < 2", "gate/max(slowdown)", "toy", "deepsloth", 3.0, "3", "< 2", Verdict.FAIL)
    >>> json.loads(sarif_json([bad], Path("run")))["runs"][0]["results"][0]["level"]
    'error'
    """
    findings = [result for result in results if result.verdict is not Verdict.PASS]
    rules = sorted({result.rule for result in results})
    taxa = {name: _taxa(findings, name) for name in sorted({name for found in findings for name in found.tags})}
    folder = audit.folder if isinstance(audit, SavedAudit) else audit
    file = folder if folder.is_file() else folder / "audit.json"
    places = [(_uri(file), 1)]
    if isinstance(audit, SavedAudit) and (own := own_factory(str(audit.config.get("target", "")))):
        places = [(_uri(own[0]), own[1]), *places]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "torpor",
                "version": torpor.__version__,
                "rules": [_rule(rule, results) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(found, rules, taxa, places) for found in findings],
        "properties": {"verdicts": {verdict.value: _count(results, verdict) for verdict in Verdict}},
    }
    if accepted := sorted({flag for result in results for flag in result.accepted}):
        run["properties"]["accepted_flags"] = [
            {"flag": flag, "checks": [_place(result) for result in results if flag in result.accepted]}
            for flag in accepted
        ]
    if taxa:
        run["taxonomies"] = [
            {"name": TAXONOMIES.get(name, name), "taxa": [{"id": tag} for tag in tags]} for name, tags in taxa.items()
        ]
    if isinstance(audit, SavedAudit):
        run["properties"]["target"] = audit.target["name"]
    return json.dumps({"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _count(results: Sequence[CheckResult], verdict: Verdict) -> int:
    return sum(result.verdict is verdict for result in results)


def _taxa(results: Sequence[CheckResult], taxonomy: str) -> list[str]:
    return sorted({tag for result in results for tag in result.tags.get(taxonomy, ())})


def _rule(rule: str, results: Sequence[CheckResult]) -> dict[str, Any]:
    family, _, measure = rule.partition("/")
    broken = {"baseline": "is worse than in the baseline", "conform": "does not hold", "set": "grew"}
    text = f"{measure} {broken.get(family, 'breaks its gate')}"
    tags = sorted({tag for result in results if result.rule == rule for tag in _flat_tags(result)})
    return {
        "id": rule,
        "shortDescription": {"text": text},
        "fullDescription": {"text": f"An input can make the audited target cost more than was agreed: {text}."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": tags, "security-severity": _severity(rule, results)},
    }


def _severity(rule: str, results: Sequence[CheckResult]) -> str:
    """Return how grave code-scanning services call a rule: high where a check failed, medium where none decides."""
    failed = any(each.rule == rule and each.verdict is Verdict.FAIL and not each.warns for each in results)
    return HIGH if failed else MEDIUM


def _result(
    found: CheckResult, rules: Sequence[str], taxa: dict[str, list[str]], places: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    place = "/".join(part for part in (found.target, found.row) if part) or "audit"
    if found.verdict is Verdict.FAIL:
        text = f"{place}: got {found.shown}, expected {found.check}"
    else:
        text = f"{place}: {found.check} is inconclusive: {found.reason}"
    order = list(taxa)
    fingerprint = hashlib.sha256(f"{found.rule}\n{found.limit}\n{place}".encode(errors="replace")).hexdigest()
    first, *others = (
        {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": line}}} for uri, line in places
    )
    related = {"relatedLocations": [{"id": 1, **other} for other in others]} if others else {}
    return {
        "ruleId": found.rule,
        "ruleIndex": rules.index(found.rule),
        "level": "error" if found.verdict is Verdict.FAIL and not found.warns else "warning",
        "message": {"text": text},
        "locations": [{**first, "logicalLocations": [{"fullyQualifiedName": place}]}],
        **related,
        "partialFingerprints": {"torporCheck/v1": fingerprint},
        "taxa": [
            {
                "id": tag,
                "index": taxa[name].index(tag),
                "toolComponent": {"name": TAXONOMIES.get(name, name), "index": order.index(name)},
            }
            for name, tags in found.tags.items()
            for tag in dict.fromkeys(tags)
        ],
        "properties": {
            "tags": _flat_tags(found),
            "value": found.value,
            "limit": found.limit,
            **({"notes": list(found.notes)} if found.notes else {}),
        },
    }


def _place(result: CheckResult) -> str:
    """Return which check on which row a result is of."""
    return f"{result.check} [{result.row}]"


def _flat_tags(result: CheckResult) -> list[str]:
    """Return the tags without repeats; a CWE in the form that code-scanning services link to its page."""
    return list(
        dict.fromkeys(
            f"external/cwe/{tag.lower()}" if name == "cwe" else tag
            for name, tags in result.tags.items()
            for tag in tags
        )
    )


def _uri(path: Path) -> str:
    if path.is_absolute() or ".." in path.parts:
        return path.resolve().as_uri()
    return quote(path.as_posix())
