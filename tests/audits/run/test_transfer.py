"""What an attack found through a defense is at least what the undefended row says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from toy_audits import NEEDLE, call, records, snapshot, write_images

from torpor.attacks.base import Attack, Candidates
from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

GUARD, TRANSFORM = "deadline:3", "bit-depth:3"


class Roundabout(Attack):
    """Find the costliest mean pixel, gray, but only through a defense; without one, give up."""

    id: ClassVar[str] = "roundabout"
    paper: ClassVar[None] = None

    def search(self, target: Any, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:  # noqa: ANN401
        """Return gray images with a defense, the clean ones without."""
        found = torch.full_like(inputs, 128 / 255) if target.name != "needle" else inputs
        count = torch.ones(len(inputs), dtype=torch.int64)
        return Candidates(found, count, count)


class Narrow(Attack):
    """Find the costliest mean pixel, gray, but only within a small budget; give up within a larger one."""

    id: ClassVar[str] = "narrow"
    paper: ClassVar[None] = None

    def search(self, target: Any, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:  # noqa: ANN401
        """Return gray images within 0.5, the clean ones within more."""
        found = torch.full_like(inputs, 128 / 255) if self.eps <= 0.5 else inputs
        count = torch.ones(len(inputs), dtype=torch.int64)
        return Candidates(found, count, count)


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("torpor.audits.run.summary.tags_for", lambda *names: {})
    data = str(write_images(tmp_path / "data"))
    plan = Plan(
        NEEDLE,
        (f"{__name__}:Roundabout",),
        "Linf",
        (0.5,),
        limit=8,
        batch_size=3,
        data_dir=data,
        defenses=(TRANSFORM, GUARD),
    )
    run_audit(plan, named(), tmp_path / "run")
    run_audit(plan, named(), tmp_path / "again")
    return tmp_path / "run"


def named() -> Target:
    target = load_target(NEEDLE)
    target.name = "needle"
    return target


def test_inputs_that_were_found_through_a_defense_count_without_it(audited: Path) -> None:
    target = named()
    table = [row for row in records(audited).to_pylist() if row["attack"] in ("clean", "roundabout")]

    def costs(defense: str, attacker: str | None) -> list[float]:
        return [row["cost"] for row in table if row["attack"] != "clean" and _is(row, defense, attacker)]

    free, unaware = costs("none", None), costs(GUARD, "non-adaptive")
    clean = [row["cost"] for row in table if row["attack"] == "clean" and _is(row, "none", None)]
    assert all(one >= other for one, other in zip(free, costs(GUARD, "adaptive"), strict=True))
    assert all(one >= other for one, other in zip(free, clean, strict=True))
    assert sum(free) > sum(clean)
    assert max(free) == target.prices.cost(target.static_work()).item()  # the guard stops one exit before
    assert sum(unaware) <= sum(clean)  # who knows of no defense has found nothing, and sends nothing else
    for row in table:
        through = row["found_through"]
        assert through in ((None, TRANSFORM, GUARD) if _is(row, "none", None) else (None,))
        if row["attack"] != "clean" and _is(row, "none", None):
            assert (through is not None) == (row["cost"] > row["cost_clean"])
            assert row["linf"] <= row["eps"]


def test_saved_inputs_are_those_that_count(audited: Path) -> None:
    target = named()
    saved = load_file(audited / "examples" / "roundabout-Linf-0.5.safetensors")
    costs = target.prices.cost(target.run(target.read(saved["attacked"])).work).tolist()
    known = {
        row["sample"]: row["cost"]
        for row in records(audited).to_pylist()
        if row["attack"] == "roundabout" and _is(row, "none", None)
    }
    assert costs == [known[sample] for sample in saved["index"].tolist()]


def test_the_summary_and_the_report_say_through_what(audited: Path) -> None:
    row = json.loads((audited / "audit.json").read_text())["summary"][1]
    assert (row["attack"], row["defense"]) == ("roundabout", "none")
    found = row["found_through"]
    assert 0 < sum(found.values()) <= 8
    code, out, _ = call("report", audited)
    assert code == 0
    count, name = next((count, name) for name, count in found.items())
    assert f"the attack found {count} through {name}" in " ".join(out.split())


def test_rows_stay_in_the_order_of_the_plan_and_records_the_same(audited: Path) -> None:
    again = audited.parent / "again"
    assert snapshot(again)["records.parquet"] == snapshot(audited)["records.parquet"]
    first = [row for row in records(audited).to_pylist() if row["sample"] < 3]
    order = list(dict.fromkeys((row["attack"], row["defense"], row["attacker"]) for row in first))
    summary = json.loads((audited / "audit.json").read_text())["summary"]
    assert order == [(row["attack"], row["defense"], row["attacker"]) for row in summary]


@pytest.mark.parametrize("eps", [(0.5, 0.75), (0.75, 0.5)])
@pytest.mark.parametrize("attack", ["Narrow", "Roundabout"])
def test_what_was_found_within_a_smaller_budget_counts_within_a_larger_one(
    attack: str, eps: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torpor.audits.run.summary.tags_for", lambda *names: {})
    data = str(write_images(tmp_path / "data"))
    attacks = (f"{__name__}:{attack}",)
    plan = Plan(NEEDLE, attacks, "Linf", eps, limit=8, batch_size=3, data_dir=data, defenses=(GUARD,))
    run_audit(plan, named(), tmp_path / "run")
    table = [row for row in records(tmp_path / "run").to_pylist() if row["attack"] != "clean"]
    for name in {row["attack"] for row in table}:  # controls, too
        for condition in (("none", None), (GUARD, "adaptive")):
            small, large = (
                {
                    row["sample"]: row
                    for row in table
                    if row["attack"] == name and row["eps"] == eps and _is(row, *condition)
                }
                for eps in (0.5, 0.75)
            )
            assert len(small) == len(large) == (8 if condition[1] is None or name == attack.lower() else 0)
            for sample, row in small.items():
                assert large[sample]["cost"] >= row["cost"]
    free = {
        (row["sample"], row["eps"]): row for row in table if row["attack"] == attack.lower() and _is(row, "none", None)
    }
    assert any(row["cost"] > row["cost_clean"] for row in free.values())
    if attack == "Narrow":
        for sample in range(8):
            assert free[sample, 0.75]["cost"] == free[sample, 0.5]["cost"]
            assert free[sample, 0.75]["linf"] == free[sample, 0.5]["linf"] <= 0.5
            assert free[sample, 0.75]["budget_used"] == 0  # of the search within the larger budget


def _is(row: dict[str, Any], defense: str, attacker: str | None) -> bool:
    return (row["defense"], row["attacker"]) == (defense, attacker)
