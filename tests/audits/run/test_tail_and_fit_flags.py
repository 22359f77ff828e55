"""Flags of attacks that natural inputs beat, of fits that failed, and of single samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_flags import gathered

from torpor.audits.conditions import RowKey
from torpor.audits.evidence import weakness
from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.run.engine import run_audit
from torpor.audits.run.summary import _fit_failed
from torpor.audits.verdict.gate import evaluate_gates
from torpor.audits.verdict.gate_grammar import parse_gate
from torpor.targets.resolve import load_target


@pytest.mark.parametrize(("natural", "holds"), [(2.5, True), (2.0, False), (1.5, False)])
def test_the_natural_tail_counts_where_it_is_above_the_costliest_attacked_input(natural: float, holds: bool) -> None:
    assert gathered().below_natural({"cost_p999": natural}) is holds  # all of its inputs cost 2
    assert not gathered().below_natural(None)
    full = gathered({"cost_own": [3.0] * 20}, cost=[3.0] * 20, cost_own=[3.0] * 20)
    assert not full.below_natural({"cost_p999": 9.0})  # there was nothing to measure


def test_a_fit_that_raised_nothing_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    assert not _fit_failed(path)
    for facts, failed in (({"seconds": 1.0}, False), ({"raises": None}, False), ({"raises": True}, False)):
        path.write_text(json.dumps(facts))
        assert _fit_failed(path) is failed
    path.write_text(json.dumps({"raises": False}))
    assert _fit_failed(path)


def test_an_audit_of_one_sample_passes_nothing_and_tells_both_in_its_files(tmp_path: Path) -> None:
    target = load_target("sdn-digits")
    plan = Plan("sdn-digits", ("pgd", "deepsloth-universal"), "Linf", (1 / 255,), steps=1, limit=1)
    run_audit(plan, target, tmp_path / "run")
    audit = read_audit(tmp_path / "run")
    assert audit.elapsed is not None
    assert audit.elapsed["seconds"] > 0
    facts = json.loads((tmp_path / "run" / "fitted" / "deepsloth-universal-Linf-0.0039216.json").read_text())
    assert facts["raises"] in (True, False)
    universal = next(row for row in audit.summary if row["attack"] == "deepsloth-universal")
    assert ("fit-failed" in universal["flags"]) is not facts["raises"]
    pgd = next(row for row in audit.summary if row["attack"] == "pgd")
    assert audit.natural is not None
    records = audit.load_records(["cost"], pgd)["cost"].to_pylist()
    assert ("natural-tail-above-attack" in pgd["flags"]) is (max(records) < audit.natural["cost_p999"])
    assert RowKey.of(pgd).budget is not None
    (result,) = evaluate_gates(audit, [parse_gate("pgd: mean(slowdown) < 1000")])
    assert "one-sample" in result.reason
    assert weakness({**pgd, "flags": []}, accepted=["one-sample"]) == ""
    (failed,) = evaluate_gates(audit, [parse_gate("pgd: mean(slowdown) < 0.5")])
    assert failed.verdict.value == "fail"
