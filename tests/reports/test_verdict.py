"""A verdict does not contradict itself: its bound covers every row, and it says of which inputs it is one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_factory import make_audit

from torpor.audits.read import read_audit
from torpor.reports.console import verdict_line
from torpor.reports.defended import defense_rows
from torpor.reports.html import write_report
from torpor.reports.kit.flags import FLAGS
from torpor.reports.kit.words import bracket, static_factor

TARGET = {"accepts": "text of up to 4,096 bytes and 128 tokens", "static_cost": 5000}


def row(attack: str, kind: str, mean: float, static: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the row of a text target whose mean clean cost is 100."""
    budget = {"norm": None, "eps": None} if kind == "clean" else {"norm": "tokens", "eps": 3.0}
    costs = {"cost_mean": 100 * mean, "cost_clean_mean": 100.0, "cost_static": 100 * static}
    tail = dict.fromkeys(("slowdown_mean", "slowdown_p95", "slowdown_max"), mean)
    return {"attack": attack, "kind": kind, "defense": "none", "n": 4, "flags": [], **budget, **costs, **tail, **more}


def verdict_of(*rows: dict[str, Any], **target: Any) -> str:  # noqa: ANN401
    return verdict_line({"summary": rows, "natural": None, "target": target})


def test_the_bound_of_the_verdict_is_the_largest_of_all_rows_of_its_budget() -> None:
    """The attack's texts are short ones; the control's, and a clean one, may cost more than their bound."""
    clean, attack = row("clean", "clean", 1.0, 8.0), row("nmtsloth-token", "attack", 5.0, 6.0)
    control = row("control-keep-writing", "control", 4.0, 9.0)
    other = row("nmtsloth-token", "attack", 2.0, 30.0, eps=9.0)
    assert "static bound 9.00x" in verdict_of(clean, attack, control, other)
    assert "static bound 8.00x" in verdict_of(clean, attack, other)
    assert static_factor([clean, attack, control]) == 9.0
    assert static_factor([]) is None


def test_the_bound_of_a_defense_covers_every_row_with_it() -> None:
    clean, capped = row("clean", "clean", 1.0, 8.0), row("clean", "clean", 1.0, 3.0, defense="steps:4")
    adaptive = row("nmtsloth-token", "attack", 3.5, 4.0, defense="steps:4", attacker="adaptive")
    assert [each["bound"] for each in defense_rows([clean, capped, adaptive])] == [8.0, 4.0]


def test_the_verdict_says_of_which_inputs_its_bound_is_one() -> None:
    rows = row("clean", "clean", 1.0, 8.0), row("nmtsloth-token", "attack", 5.0, 6.0)
    assert (
        "static bound of the inputs that were sent 8.00x, of any text of up to 4,096 bytes and 128 tokens 50.0x."
        in verdict_of(*rows, **TARGET)
    )
    fixed = {**TARGET, "static_cost": 800}
    assert "static bound 8.00x, which no text of up to 4,096 bytes and 128 tokens exceeds." in verdict_of(
        *rows, **fixed
    )
    assert "static bound 8.00x." in verdict_of(*rows)  # an older audit does not say


def test_the_verdict_says_where_nothing_could_be_measured() -> None:
    clean = row("clean", "clean", 1.0, 2.0)
    full = row("pgd", "attack", 1.0, 1.0, no_headroom_rate=1.0, flags=["nothing-to-measure"])
    assert "Nothing to measure: every clean input is at the cap" in verdict_of(clean, full)
    assert "Lower limit" not in verdict_of(clean, full)
    some = row("pgd", "attack", 1.5, 2.0, no_headroom_rate=0.25)
    assert "25.0 % of the clean inputs are at the cap or the static bound from the start." in verdict_of(clean, some)


def test_the_verdict_names_controls_that_do_as_well() -> None:
    clean = row("clean", "clean", 1.0, 2.0)
    by_chance = verdict_of(clean, row("pgd", "attack", 2.0, 2.0, flags=["cap-reached-by-chance"]))
    assert "A control takes nine in ten samples to the cap or the static bound, too" in by_chance
    assert "Lower limit" not in by_chance
    beaten = verdict_of(clean, row("pgd", "attack", 1.5, 2.0, flags=["control-beats-attack"]))
    assert "Lower limit, not the worst case: this row is flagged control-beats-attack." in beaten


@pytest.mark.parametrize("flag", ["nothing-to-measure", "control-beats-attack", "cap-reached-by-chance"])
def test_the_report_explains_every_flag(tmp_path: Path, flag: str) -> None:
    folder = make_audit(tmp_path / "run")
    audit = json.loads((folder / "audit.json").read_text())
    audit["summary"][1]["flags"] = [flag]
    (folder / "audit.json").write_text(json.dumps(audit))
    assert FLAGS[flag] in re.sub(r"\s+", " ", write_report(folder).read_text())


def test_one_sample_has_no_interval_and_the_report_shows_a_dash(tmp_path: Path) -> None:
    assert bracket({"slowdown_ci95": None, "n": 1}) == "[-]"
    folder = make_audit(tmp_path / "run")
    audit = json.loads((folder / "audit.json").read_text())
    for one in audit["summary"]:
        one.update(n=1, slowdown_ci95=None, latency_n=1, latency_ci95=None)
    (folder / "audit.json").write_text(json.dumps(audit))
    assert "one sample has no interval" in verdict_line(read_audit(folder).parts())
    text = write_report(folder).read_text()
    assert "2.42x [-]" in text
    assert "2.1 ms [-]" in text
