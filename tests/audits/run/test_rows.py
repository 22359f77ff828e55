from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from torpor.attacks.base import AttackResult
from torpor.attacks.controls.dense import Noise
from torpor.attacks.early_exit.pgd import PGD
from torpor.attacks.registry import costliest
from torpor.audits.conditions import Condition, RowKey
from torpor.audits.run.rows import Clean, attacked_rows, clean_rows
from torpor.core.work import Work
from torpor.data.sets import Batch
from torpor.targets.base import Target
from torpor.targets.early_exit.toys import WindowTarget, needle
from torpor.targets.family import Ran

BATCH = Batch(
    torch.arange(5, 9),
    torch.tensor([30, 120, 128, 200]).view(4, 1, 1, 1).expand(4, 1, 4, 4).byte(),
    torch.arange(4) % 2,
)


def clean_batch(target: WindowTarget) -> Clean:
    inputs = target.space.from_bytes(BATCH.inputs)
    return Clean(target, BATCH, inputs, target.run(inputs))


def attacked(target: WindowTarget, seed: int = 0) -> AttackResult:
    inputs = target.space.from_bytes(BATCH.inputs)
    return PGD(norm="Linf", eps=0.3)(target, inputs, references=BATCH.references, seed=seed)


def test_clean_rows_say_what_a_run_alone_costs() -> None:
    target = needle()
    clean = clean_batch(target)
    inputs = clean.inputs
    rows = clean_rows(clean, target, RowKey("clean"), clean.outcome).to_pylist()
    for row, image in zip(rows, inputs, strict=True):
        alone = target.run(image.unsqueeze(0))
        assert row["work"] == alone.work.counts[0].tolist()
        assert (
            row["cost"]
            == row["cost_clean"]
            == sum(unit.flops * runs for unit, runs in zip(target.units, row["work"], strict=True))
        )
        assert row["exit"] == sum(row["work"]) - 1
        assert (row["attack"], row["defense"], row["norm"], row["eps"]) == ("clean", "none", None, None)
        assert (row["slowdown"], row["linf"], row["forwards"], row["agreement"]) == (1.0, 0.0, 0, True)
    assert [row["sample"] for row in rows] == [5, 6, 7, 8]
    assert rows[2]["headroom"] is None  # the mean pixel lies in every window: nothing is left to lose
    assert rows[0]["headroom"] == 0


def test_attacked_rows_repeat_on_the_attacked_input() -> None:
    target = needle()
    result, batch = attacked(target), clean_batch(target)
    own = Ran[Target](target, batch.inputs, batch.outcome)
    rows = attacked_rows(batch, own, RowKey("pgd", PGD(eps=0.3).budget), result).to_pylist()
    for row, image, clean in zip(rows, result.inputs, result.clean_inputs, strict=True):
        assert row["work"] == target.run(image.unsqueeze(0)).work.counts[0].tolist()
        assert row["linf"] == pytest.approx((image - clean).abs().max().item(), abs=1e-7)
        assert row["slowdown"] == row["cost"] / row["cost_clean"] >= 1
        if row["headroom"] is not None:
            room = row["cost_static"] - row["cost_clean"]
            assert row["headroom"] == pytest.approx((row["cost"] - row["cost_clean"]) / room)
        assert row["eps"] == 0.3
    assert any(row["backwards"] > 0 for row in rows)


def test_rejections_are_no_headroom() -> None:
    target = needle()
    result, batch = attacked(target), clean_batch(target)
    spared, passed = torch.tensor([True, False, False, False]), torch.tensor([False, False, False, True])
    early = Work(result.attacked.work.counts * ~passed.unsqueeze(1))
    own = Ran[Target](target, batch.inputs, batch.outcome)
    rejected = replace(own, outcome=replace(batch.outcome, rejected=spared))
    stopped = replace(result, attacked=replace(result.attacked, work=early, rejected=passed))
    key = RowKey("pgd", PGD(eps=0.3).budget, Condition("svm", attacker="non-adaptive"))
    rows = attacked_rows(batch, rejected, key, stopped).to_pylist()
    free = attacked_rows(batch, own, key, result).to_pylist()
    assert rows[3]["cost"] == 0 < rows[3]["cost_own"]
    assert None not in (free[0]["headroom"], free[3]["headroom"])
    assert [row["headroom"] for row in rows] == [None, free[1]["headroom"], free[2]["headroom"], 0.0]


def test_the_costliest_perturbation_is_chosen_for_each_sample() -> None:
    target = needle()
    inputs = target.space.from_bytes(BATCH.inputs)
    near = attacked(target)
    weak = Noise(norm="Linf", eps=0.01)(target, inputs, references=BATCH.references)
    for results in ([near, weak], [weak, near]):
        best = costliest(target, results)
        cost = target.prices.cost(target.run(near.clean_inputs + best).work)
        most = torch.stack([target.prices.cost(result.attacked.work) for result in results]).amax(0)
        assert cost.equal(most)
