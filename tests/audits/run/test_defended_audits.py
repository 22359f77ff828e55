"""Audits of defended targets, of every kind: each attack comes twice, and everything is compared with no defense."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lamp_audits import FOLLOWED, LAMPS
from toy_audits import NEEDLE, call, records, snapshot, write_images

from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.run.engine import run_audit
from torpor.core.errors import UsageError
from torpor.defenses.registry import load_defense
from torpor.reports.html import write_report
from torpor.targets.resolve import load_target

TOY_TEXT = "torpor.targets.decoder.toy_text:ToyText"
CASES = {
    NEEDLE: Plan(NEEDLE, ("pgd",), "Linf", (0.2,), steps=4, limit=6, defenses=("bit-depth:3", "deadline:2")),
    LAMPS: Plan(LAMPS, ("overload",), "Linf", (0.3,), steps=4, limit=3, defenses=("bit-depth:3", "jpeg")),
    FOLLOWED: Plan(FOLLOWED, ("overload",), "Linf", (0.3,), steps=4, limit=2, defenses=("bit-depth:3",)),
    TOY_TEXT: Plan(TOY_TEXT, ("nmtsloth-token",), limit=3, defenses=("strip", "steps:2")),
}


@pytest.fixture(scope="module", params=CASES, ids=[name.partition(":")[2] for name in CASES])
def audited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    base = tmp_path_factory.mktemp("defended")
    plan = CASES[request.param]
    given: dict[str, Any] = {}
    if request.param == NEEDLE:
        given = {"data_dir": str(write_images(base / "data"))}
    if request.param == TOY_TEXT:
        (base / "texts.txt").write_text("the cat sat\nmy dog 3\na tree, a bird\n", encoding="utf-8")
        given = {"inputs": str(base / "texts.txt")}
    plan, target = Plan(**{**vars(plan), **given}), load_target(request.param)
    run_audit(plan, target, base / "run")
    return plan.on(target), base / "run"


def test_there_is_a_row_for_every_cell_and_a_record_for_every_sample(audited: tuple[Plan, Path]) -> None:
    plan, folder = audited
    summary = json.loads((folder / "audit.json").read_text())["summary"]
    keys = ("attack", "defense", "attacker")
    assert [tuple(row[key] for key in keys) for row in summary] == [
        (key.attack, key.condition.defense, key.condition.attacker) for key in plan.keys
    ]
    table = records(folder).to_pylist()
    assert len(table) == len(plan.keys) * (plan.limit or 0)
    for row in summary:
        own = [kept["slowdown"] for kept in table if all(kept[key] == row[key] for key in keys)]
        assert row["slowdown_mean"] == pytest.approx(sum(own) / len(own))


def test_who_is_degraded_is_what_records_say_of_clean_inputs(audited: tuple[Plan, Path]) -> None:
    plan, folder = audited
    table = records(folder).to_pylist()
    ratios: list[float] = []
    for row in json.loads((folder / "audit.json").read_text())["summary"]:
        own = [kept for kept in table if kept["attack"] == "clean" and kept["defense"] == row["defense"]]
        if row["attack"] != "clean" or row["defense"] == "none":
            assert row["changed_rate"] is row["hurt"] is row["utility_loss_mean"] is None
            continue
        changed = [kept["cost_clean"] for kept in own if kept["rejected"] or not kept["agreement"]]
        assert row["changed_rate"] == pytest.approx(len(changed) / len(own))
        mean = sum(kept["cost_clean"] for kept in own) / len(own)
        own_ratios = [sum(changed) / len(changed) / mean] if changed else []
        assert row["changed_cost_ratio"] == (pytest.approx(own_ratios[0]) if changed else None)
        ratios += own_ratios
        losses = [kept["utility_clean"] - kept["utility"] for kept in own if kept["utility"] is not None]
        assert row["hurt"] == (sum(loss > 0 for loss in losses) if losses else None)
        assert row["utility_loss_mean"] == (pytest.approx(sum(losses) / len(losses)) if losses else None)
    assert ratios or plan.target != TOY_TEXT  # a budget of two steps changes some output


def test_costs_are_compared_with_the_clean_input_without_defense(audited: tuple[Plan, Path]) -> None:
    plan, folder = audited
    target = load_target(plan.target)
    table = records(folder).to_pylist()
    free = {row["sample"]: row["cost"] for row in table if (row["attack"], row["defense"]) == ("clean", "none")}
    for row in table:
        assert row["cost_clean"] == free[row["sample"]]
        assert row["cost"] <= row["cost_static"]
        if row["defense"] == "none" or row["defense"].startswith(("deadline", "steps")):
            continue
        defended = load_defense(row["defense"]).defend(target)
        assert len(row["work"]) == len(defended.units) > len(target.units)
        assert row["cost"] == sum(unit.flops * runs for unit, runs in zip(defended.units, row["work"], strict=True))


def test_unaware_inputs_are_those_of_the_undefended_row(audited: tuple[Plan, Path]) -> None:
    table = records(audited[1]).to_pylist()
    distances = ("linf", "l2", "edits")
    free = [row for row in table if _is(row, "none", None)]
    sent = {row["sample"]: [row[key] for key in distances] for row in free if row["found_through"] is None}
    unaware = [row for row in table if row["attacker"] == "non-adaptive" and row["sample"] in sent]
    assert unaware
    for row in unaware:
        assert [row[key] for key in distances] == sent[row["sample"]]


def _is(row: dict[str, Any], defense: str, attacker: str | None) -> bool:
    plain = row["attack"] != "clean" and not row["attack"].startswith("control-")
    return plain and (row["defense"], row["attacker"]) == (defense, attacker)


def test_reports_say_what_both_attackers_get(audited: tuple[Plan, Path]) -> None:
    plan, folder = audited
    text = write_report(folder).read_text(encoding="utf-8")
    for name in plan.defenses:
        assert re.search(f"Defended by {re.escape(name)}: (helps|not shown to help|does not help)", text)
    audit = read_audit(folder)
    assert audit.config["defenses"] == list(plan.defenses)
    code, said, _ = call("check", folder, "mean(slowdown) < 1000")
    assert code in (0, 11)
    assert f"against {plan.defenses[0]}, adaptive" in said


def test_the_same_audit_again_ends_with_the_same_records(audited: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, folder = audited
    run_audit(plan, load_target(plan.target), tmp_path / "again")
    assert snapshot(tmp_path / "again")["records.parquet"] == snapshot(folder)["records.parquet"]


def test_a_defense_of_other_targets_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got strip; see: torpor list defenses"):
        run_audit(Plan(NEEDLE, ("pgd",), defenses=("strip",)), load_target(NEEDLE), tmp_path / "run")
    assert not (tmp_path / "run").exists()
