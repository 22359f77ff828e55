from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_factory import make_audit

from torpor.audits.read import read_audit
from torpor.reports.kit import words
from torpor.reports.kit.flags import explain_flag
from torpor.reports.samples.images import difference
from torpor.reports.sections.early_exit import efficacy_note
from torpor.reports.verdict import verdict


@pytest.fixture
def audit(tmp_path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = read_audit(make_audit(tmp_path / "run")).parts()
    return loaded


def test_verdict_states_the_worst_attack_with_its_references(audit: dict[str, Any]) -> None:
    worst = max((row for row in audit["summary"] if row["kind"] == "attack"), key=lambda row: row["slowdown_mean"])
    controls = [row["slowdown_mean"] for row in audit["summary"] if row["kind"] == "control"]
    bill, cost, question, references, utility = verdict(audit)
    ratio = worst["cost_mean"] / worst["cost_clean_mean"]
    assert bill.startswith(f"The bill for all inputs together: {ratio:.2f}x (ratio of means, ")
    tail = f"p95 {worst['slowdown_p95']:.2f}x, mean of ratios {worst['slowdown_mean']:.2f}x"
    assert cost.startswith(f"Worst slowdown {worst['slowdown_max']:.2f}x ({tail}")
    assert question.startswith("Is this an attack? Yes: the mean attacked input costs ")
    assert f"by {worst['attack']}, Linf 8/255; strongest control {max(controls):.2f}x" in cost
    assert f"static bound {worst['cost_static'] / worst['cost_clean_mean']:.2f}x" in references
    assert f"(99.9th percentile) {audit['natural']['slowdown_p999']:.2f}x" in references
    assert utility == f"Accuracy 60.0 % (clean 90.0 %); predictions unchanged: {100 * worst['agreement']:.1f} %."


def test_verdict_has_a_sentence_for_each_defense(audit: dict[str, Any]) -> None:
    for attacker in ("non-adaptive", "adaptive"):
        attacks = [row for row in audit["summary"] if row["kind"] == "attack" and row["defense"] == "none"]
        audit["summary"] += [{**row, "defense": "jpeg", "attacker": attacker, "slowdown_mean": 1.5} for row in attacks]
    audit["summary"] += [{**row, "defense": "jpeg"} for row in audit["summary"] if row["kind"] == "clean"]
    said = verdict(audit)
    assert len(said) == 6
    assert said[5] == (
        "Defended by jpeg: helps. Worst known mean slowdown 1.50x (deepsloth, Linf 4/255, "
        "non-adaptive; without it 2.42x); clean inputs cost 1.00x, accuracy 90.0 % (without it 90.0 %)."
    )


def test_verdict_names_flags_of_the_worst_row_and_attacks_that_failed(audit: dict[str, Any]) -> None:
    for row in audit["summary"]:
        row.update(flags=["dead-gradients"], slowdown_mean=1.0)
    said = verdict(audit)
    assert said[0].startswith("No attack raised the mean cost.")
    assert said[-1].endswith("flagged dead-gradients.")


def test_verdict_without_benign_inputs_says_so(audit: dict[str, Any]) -> None:
    audit["natural"] = None
    assert "(99.9th percentile) not measured: no benign inputs were profiled" in " ".join(verdict(audit))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.9996, "1.00x"), (9.996, "10.00x"), (99.96, "100.0x"), (1234.5, "1,234x")],
)
def test_times(value: float, expected: str) -> None:
    assert words.times(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(999, "999 FLOPs"), (999_700, "1 MFLOPs"), (1.5e9, "1.5 GFLOPs"), (3e-5, "30 µFLOPs"), (1e16, "10000 TFLOPs")],
)
def test_quantity(value: float, expected: str) -> None:
    assert words.quantity(value, "FLOPs") == expected


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_missing(value: float | None) -> None:
    row = {"energy_j": value, "energy_reason": None}
    assert words.value_text(row, "energy_j", str) == "not measured: the audit gives no reason"


def test_zero_is_a_value() -> None:
    assert words.value_text({"headroom_mean": 0.0}, "headroom_mean", words.percent) == "0.0 %"
    assert words.over_clean({"cost_mean": 0.0, "cost_clean_mean": 2.0}) == 0.0


def test_every_documented_flag_has_its_own_sentence() -> None:
    names = ("dead-gradients", "budget-unused", "surrogate-not-tracking", "black-box-beats-white-box")
    assert len({explain_flag(name) for name in (*names, "unknown")}) == 5


def test_trapezoid_floor_is_half_of_the_last_stage() -> None:
    assert "below 0.200" in efficacy_note([0.25, 0.6, 1.0])
    assert "below" not in efficacy_note([])


def test_difference_keeps_sign_and_stays_in_range() -> None:
    clean = np.array([[[0, 255, 100]]], np.uint8)
    view, factor = difference(clean, np.array([[[255, 0, 100]]], np.uint8))
    assert (view.tolist(), factor) == ([[[255, 0, 128]]], 1)
    view, factor = difference(clean, clean)
    assert (view.tolist(), factor) == ([[[128, 128, 128]]], 127)
