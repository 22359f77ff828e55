from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from audit_factory import SLOWDOWNS, write_audit
from hypothesis import given
from hypothesis import strategies as st

from torpor.audits.read import SavedAudit, read_audit
from torpor.audits.verdict.baseline import MAY_NOT_FALL, MAY_NOT_GROW, compare_baseline
from torpor.audits.verdict.gate import Verdict, overall
from torpor.core.errors import DataError, UsageError


def audit_of(**values: float | None) -> SavedAudit:
    row: Mapping[str, Any] = {"attack": "deepsloth", "kind": "attack", "norm": "Linf", "eps": 0.1, "n": 4, **values}
    return SavedAudit(Path("run"), {}, {"name": "toy"}, {}, None, [row])


def test_an_audit_is_no_worse_than_itself(tmp_path: Path) -> None:
    audit = read_audit(write_audit(tmp_path))
    results = compare_baseline(audit, audit, tolerance=0)
    assert overall(results) is Verdict.PASS
    assert len(results) == 2 * 6 + 2  # two attacks, and cost and utility of clean inputs; no control
    assert results == compare_baseline(audit, audit, tolerance=0)


@pytest.mark.parametrize("metric", MAY_NOT_GROW)
def test_growth_beyond_the_tolerance_fails(metric: str) -> None:
    old = audit_of(**{metric: 2.0})
    for new, verdict in [(2.0, "pass"), (2.1, "pass"), (2.11, "fail"), (1.0, "pass")]:
        (result,) = compare_baseline(audit_of(**{metric: new}), old, tolerance=0.05)
        assert (result.rule, result.verdict.value, result.value) == (f"baseline/{metric}", verdict, new)


@pytest.mark.parametrize("metric", MAY_NOT_FALL)
def test_a_fall_beyond_the_tolerance_fails(metric: str) -> None:
    for new, verdict in [(0.8, "pass"), (0.77, "pass"), (0.75, "fail"), (1.0, "pass")]:
        (result,) = compare_baseline(audit_of(**{metric: new}), audit_of(**{metric: 0.8}))
        assert result.verdict.value == verdict


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 2))
def test_the_documented_rule(old: float, new: float, tolerance: float) -> None:
    (result,) = compare_baseline(audit_of(slowdown_mean=new), audit_of(slowdown_mean=old), tolerance)
    bound = old * (1 + tolerance)
    if new > bound * (1 + 1e-12):
        assert result.verdict is Verdict.FAIL
    elif new < bound * (1 - 1e-12) or new == old:
        assert result.verdict is Verdict.PASS


def test_a_negative_headroom_does_not_fail_against_itself() -> None:
    (result,) = compare_baseline(audit_of(headroom_mean=-0.1), audit_of(headroom_mean=-0.1))
    assert result.verdict is Verdict.PASS


def test_missing_rows_and_values_are_inconclusive(tmp_path: Path) -> None:
    old = read_audit(write_audit(tmp_path / "old"))
    new = read_audit(write_audit(tmp_path / "new", {"deepsloth": SLOWDOWNS["deepsloth"]}))
    odd = [result for result in compare_baseline(new, old) if result.verdict is not Verdict.PASS]
    assert [(result.row, result.verdict) for result in odd] == [("noise-search, Linf 8/255", Verdict.INCONCLUSIVE)]
    assert overall(compare_baseline(old, new)) is Verdict.PASS  # a new attack has nothing to be compared with
    (result,) = compare_baseline(audit_of(slowdown_mean=None), audit_of(slowdown_mean=1.0))
    assert result.verdict is Verdict.INCONCLUSIVE
    (nothing,) = compare_baseline(audit_of(slowdown_mean=1.0), audit_of(slowdown_mean=None))
    assert nothing.verdict is Verdict.INCONCLUSIVE


def test_a_broken_attack_or_other_samples_spoil_a_pass_but_not_a_fail(tmp_path: Path) -> None:
    old = read_audit(write_audit(tmp_path / "old"))
    broken = read_audit(write_audit(tmp_path / "broken", edits={"deepsloth": {"flags": ["dead-gradients"]}}))
    assert overall(compare_baseline(broken, old)) is Verdict.INCONCLUSIVE
    split = read_audit(write_audit(tmp_path / "split", config={"split": "validation"}))
    with pytest.raises(UsageError, match="another split"):
        compare_baseline(split, old)
    assert overall(compare_baseline(split, old, allow_different_settings=True)) is Verdict.INCONCLUSIVE
    worse = {"flags": ["dead-gradients"], "slowdown_max": 3.0}
    failed = read_audit(write_audit(tmp_path / "failed", edits={"deepsloth": worse}))
    assert overall(compare_baseline(failed, old)) is Verdict.FAIL


def test_other_targets_tolerances_and_doubled_rows_are_refused(tmp_path: Path) -> None:
    audit = read_audit(write_audit(tmp_path / "a"))
    other = read_audit(write_audit(tmp_path / "b", target="other"))
    with pytest.raises(UsageError, match="baseline of target 'toy', got one of 'other'"):
        compare_baseline(audit, other)
    for tolerance in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="tolerance"):
            compare_baseline(audit, audit, tolerance)
    doubled = SavedAudit(audit.folder, {}, audit.target, {}, None, [*audit.summary, audit.summary[1]])
    with pytest.raises(DataError, match="got two"):
        compare_baseline(doubled, audit)
