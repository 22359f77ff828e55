from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_audits import NEEDLE, TUG, records, write_images

from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.run.engine import run_audit
from torpor.targets.resolve import load_target

KEYS = """
target attack defense norm eps n kind behavior stage access tags cost_mean cost_clean_mean cost_static slowdown_mean
slowdown_p50 slowdown_p95 slowdown_p99 slowdown_max slowdown_ci95 headroom_mean efficacy_eec efficacy_step
exit_histogram utility_name utility agreement linf_max l2_mean l1_mean latency_s_p50 latency_ci95 latency_slowdown
latency_valid latency_reason energy_j energy_reason memory_bytes memory_reason attack_seconds forwards backwards flags
"""


@pytest.fixture(scope="module", params=[NEEDLE, TUG])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("summary")
    data = str(write_images(base / "data"))
    plan = Plan(request.param, ("deepsloth", "pgd"), "Linf", (0.1,), limit=20, batch_size=16, data_dir=data)
    run_audit(plan, load_target(request.param), base / "run")
    return base / "run"


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def loaded(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "audit.json").read_text(), parse_constant=refuse)
    return found


def test_audit_json_is_strict_and_complete(run: Path) -> None:
    audit = loaded(run)
    assert audit["schema"] == "torpor.audit/2"
    assert [row["attack"] for row in audit["summary"]] == [
        *("clean", "deepsloth", "pgd"),
        *("control-noise", "control-flat", "control-shuffled"),
    ]
    for row in audit["summary"]:
        assert not set(KEYS.split()) - row.keys()
    assert audit["config"]["split"] == "test"
    assert audit["target"]["rule"] == "confidence >= 0.9"
    assert audit["target"]["static_cost"] == sum(unit["price"] for unit in audit["units"]["none"])
    assert audit["target"]["exit_costs"][-1] == 1
    assert audit["environment"]["meters"]["latency"] == {"available": True, "reason": None}
    data = load_target(audit["config"]["target"]).data(Path(audit["config"]["data_dir"]))
    assert audit["natural"]["n"] == len(data.load("validation")) > 0
    assert read_audit(run).command == audit["command"]


def test_rows_sum_up_the_records(run: Path) -> None:
    table = records(run).to_pylist()
    for row in loaded(run)["summary"]:
        mine = [record for record in table if record["attack"] == row["attack"]]
        assert row["n"] == len(mine) == 20
        assert row["cost_mean"] == pytest.approx(sum(record["cost"] for record in mine) / 20)
        assert row["slowdown_mean"] == pytest.approx(sum(record["slowdown"] for record in mine) / 20)
        assert row["slowdown_max"] == max(record["slowdown"] for record in mine)
        assert row["utility"] == pytest.approx(sum(record["utility"] for record in mine) / 20)
        assert row["agreement"] == pytest.approx(sum(record["agreement"] for record in mine) / 20)
        assert row["linf_max"] == max(record["linf"] for record in mine)
        assert row["forwards"] == sum(record["forwards"] for record in mine)
        assert sum(row["exit_histogram"]) == 20
        for exit_, count in enumerate(row["exit_histogram"]):
            assert count == sum(record["exit"] == exit_ for record in mine)
        room = [record["headroom"] for record in mine if record["headroom"] is not None]
        assert row["headroom_mean"] == pytest.approx(sum(room) / len(room))
        assert row["efficacy_step"] == pytest.approx(1 - row["cost_mean"] / row["cost_static"])
        assert row["slowdown_ci95"][0] <= row["slowdown_mean"] <= row["slowdown_ci95"][1]


def test_the_clean_row_is_clean_and_controls_are_controls(run: Path) -> None:
    clean, *others = loaded(run)["summary"]
    assert (clean["kind"], clean["norm"], clean["eps"], clean["slowdown_max"]) == ("clean", None, None, 1)
    assert (clean["attack_seconds"], clean["forwards"], clean["flags"], clean["tags"]) == (0, 0, [], {})
    for row in others:
        control = row["attack"].startswith("control-")
        assert row["kind"] == ("control" if control else "attack")
        assert bool(row["tags"]) is not control
        assert row["cost_clean_mean"] == clean["cost_mean"]
    found = {row["attack"]: row["slowdown_mean"] for row in others}
    assert found["deepsloth"] > found["control-noise"]
    assert found["deepsloth"] >= found["control-shuffled"]  # the toys see the mean pixel only, which shuffling keeps


def test_what_was_not_measured_is_null_with_a_reason(run: Path) -> None:
    for row in loaded(run)["summary"]:
        assert row["latency_s_p50"] > 0
        assert isinstance(row["latency_valid"], bool)
        assert row["latency_valid"] or row["latency_reason"]
        for value, reason in (("energy_j", "energy_reason"), ("memory_bytes", "memory_reason")):
            assert (row[value] is None) == bool(row[reason])


def test_a_repeated_command_gives_the_same_plan(run: Path) -> None:
    import shlex

    audit = loaded(run)
    words = shlex.split(audit["command"])
    assert words[:3] == ["torpor", "audit", audit["config"]["target"]]
    assert float(words[words.index("--eps") + 1]) == audit["config"]["eps"][0]


def test_a_target_without_headroom_has_none(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=4, train=10)
    plan = Plan(NEEDLE, ("pgd",), "Linf", (0.1,), data_dir=str(data), rule="patience:9")
    run_audit(plan, load_target(NEEDLE, rule=plan.rule), tmp_path / "run")
    clean, attack, *_ = loaded(tmp_path / "run")["summary"]
    assert attack["headroom_mean"] is None
    assert attack["slowdown_max"] == 1
    assert clean["efficacy_step"] == pytest.approx(0)
    assert replace(plan, rule=None) != plan
