from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from torpor.api.run import audit
from torpor.attacks.solver.antinode import AntiNODE
from torpor.data.images import Digits, to_unit
from torpor.targets.ode.target import OdeTarget
from torpor.zoo.classifiers import CLASSIFIERS
from torpor.zoo.entry import SHIPPED
from torpor.zoo.registry import odenet_digits


def loaded() -> OdeTarget:
    target = odenet_digits()
    assert isinstance(target, OdeTarget)
    return target


def test_the_card_is_that_of_the_weights() -> None:
    card, path = CLASSIFIERS["odenet-digits"].card(), SHIPPED / "odenet-digits.safetensors"
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["flops_per_unit"] == {unit.name: unit.flops for unit in loaded().units}


def test_the_network_is_right_and_takes_few_of_its_steps() -> None:
    target, batch = loaded(), Digits().load("test")
    outcome = target.run(to_unit(batch.inputs))
    card = CLASSIFIERS["odenet-digits"].card()["test"]
    assert target.utility(outcome.outputs, batch.references).mean().item() == pytest.approx(card["accuracy"], abs=0.006)
    assert card["accuracy"] > 0.97
    steps = target.steps(outcome.work)["steps"]
    assert steps.double().mean() < 4
    assert len(steps.unique()) > 3


def test_small_first_steps_more_than_double_the_evaluations_and_transfer_to_the_other_solver() -> None:
    target, batch = loaded(), Digits().load("test", 12)
    result = AntiNODE(eps=25 / 255, steps=30)(target, to_unit(batch.inputs), references=batch.references)
    for solver in (target, target.with_controller(tableau="adaptive_heun", max_steps=256)):
        before, after = (
            solver.steps(solver.run(inputs).work)["evaluations"].double().mean()
            for inputs in (result.clean_inputs, result.inputs)
        )
        assert after > 2 * before


def test_an_attacked_image_slows_down_mates_that_share_its_steps() -> None:
    target, batch = loaded(), Digits().load("test", 8)
    images = to_unit(batch.inputs)
    found = AntiNODE(eps=25 / 255, steps=30)(target, images[:1], references=batch.references[:1]).inputs
    mixed = torch.cat([found, images[1:]])
    assert target.run(mixed).work.counts[1:].equal(target.run(images).work.counts[1:])
    shared = target.with_controller(shared=True)
    assert (shared.run(mixed).work.counts[1:, 1] > shared.run(images).work.counts[1:, 1]).all()


def test_an_audit_counts_evaluations_and_steps(tmp_path: Path) -> None:
    found = audit(loaded(), attacks=["antinode"], eps=[25 / 255], steps=10, limit=4, out=tmp_path / "audit")
    row = next(row for row in found.rows if row["attack"] == "antinode")
    assert row["evaluations_mean"] == pytest.approx(2 + 6 * row["steps_mean"])
    assert row["slowdown_mean"] > 1.3
    assert row["steps_rejected_mean"] <= row["steps_mean"]
