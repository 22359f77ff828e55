"""Findings about the limits of an endpoint, as checks that reports for CI know how to write."""

from __future__ import annotations

from collections.abc import Sequence

from torpor.audits.verdict.gate import CheckResult, Verdict
from torpor.serving.conform.finding import Finding, Standing

TAGS = {"owasp": ("LLM06:2026",), "cwe": ("CWE-770",)}
"""Unbounded consumption; allocation of resources without limits."""


def checks_of(findings: Sequence[Finding], server: str) -> list[CheckResult]:
    """Return a check per limit: it passes if the limit holds, and is inconclusive if that could not be observed.

    Args:
        findings: of the suite.
        server: its address.

    >>> [checks_of([Finding("n", each, "seen")], "http://h/v1")[0].verdict.value for each in Standing]
    ['pass', 'fail', 'fail', 'fail', 'inconclusive', 'inconclusive']
    """
    return [_check(each, server) for each in findings]


def _check(found: Finding, server: str) -> CheckResult:
    verdict = Verdict.PASS if found.standing is Standing.HOLDS else Verdict.INCONCLUSIVE
    verdict = Verdict.FAIL if found.standing.is_broken else verdict
    return CheckResult(
        check=f"{found.limit} holds",
        rule=f"conform/{found.limit}",
        target=server,
        row="",
        value=found.factor,
        shown=f"{found.standing.value}: {found.told}",
        limit="holds",
        verdict=verdict,
        reason=found.told if verdict is Verdict.INCONCLUSIVE else "",
        tags=TAGS,
    )
