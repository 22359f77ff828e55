from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from torpor.attacks.registry import load_attack
from torpor.core.signals import GateSignals
from torpor.core.units import Unit
from torpor.core.work import Outcome
from torpor.defenses.detectors.rejection import run_passed
from torpor.defenses.layer import STAGE, Layer
from torpor.defenses.wrapped import Wrapped
from torpor.targets.base import Target
from torpor.targets.early_exit.toys import needle


class Darkroom(Layer):
    """Reject what is brighter than ``most`` on average, before the target sees it."""

    units = (Unit("look", 5, STAGE),)

    def __init__(self, most: float) -> None:
        self.most = most

    def alarm(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1).mean(1) - self.most

    def run(self, inner: Target, inputs: Tensor) -> Outcome:
        outcome = run_passed(inner, inputs, self.alarm(inputs) > 0)
        return replace(outcome, work=self.charge(outcome.work, 1))

    def signals(self, inner: Target, inputs: Tensor) -> GateSignals:
        found, alarm = inner.signals(inputs), self.alarm(inputs)
        assert isinstance(found, GateSignals)
        counts = found.work.counts * (alarm <= 0).unsqueeze(1)
        return replace(found, work=self.charge(replace(found.work, counts=counts), 1), alarm=alarm)

    def fingerprint(self) -> str:
        return f"darkroom {self.most}"


def guarded(most: float) -> Wrapped:
    return Wrapped(needle(), Darkroom(most), "needle in a darkroom")


def test_a_refused_input_costs_the_look_alone_and_gets_no_answer() -> None:
    target = guarded(0.5)
    outcome = target.run(torch.tensor([0.25, 0.75]).view(2, 1, 1, 1).expand(2, 1, 4, 4))
    assert outcome.rejected is not None
    assert outcome.rejected.tolist() == [False, True]
    assert outcome.work.counts[1].tolist() == [0] * len(needle().units) + [1]
    assert target.attacker_cost(outcome)[1] == 0 < target.attacker_cost(outcome)[0]
    assert outcome.outputs[1].isnan().all()
    assert target.utility(outcome.outputs, torch.tensor([0, 0]))[1] == 0
    assert not target.agreement(outcome.outputs, needle().run(torch.full((2, 1, 4, 4), 0.75)).outputs)[1]


@pytest.mark.parametrize("name", ["pgd", "deepsloth", "square", "standard"])
def test_attacks_stay_below_the_alarm_that_they_know_of(name: str) -> None:
    """The costliest pixel means of the needle lie above what the darkroom lets pass."""
    inputs = torch.full((2, 1, 4, 4), 51 / 255)
    free = load_attack(name, norm="Linf", eps=0.6)(needle(), inputs)
    assert (free.inputs.mean((1, 2, 3)) > 0.45).all()
    target = guarded(0.45)
    found = load_attack(name, norm="Linf", eps=0.6)(target, inputs)
    assert found.attacked.rejected is not None
    assert not found.attacked.rejected.any()
    assert (target.attacker_cost(found.attacked) >= target.attacker_cost(found.clean)).all()
    assert (found.inputs.mean((1, 2, 3)) <= 0.45 + 1e-6).all()


def test_a_start_that_is_refused_is_walked_out_of() -> None:
    """Descent on the alarm alone until it is silent, then on the attack's loss."""
    target = guarded(0.45)
    found = load_attack("pgd", norm="Linf", eps=0.6)(target, torch.full((1, 1, 4, 4), 0.5))
    assert found.clean.rejected is not None
    assert found.attacked.rejected is not None
    assert found.clean.rejected.item()
    assert not found.attacked.rejected.item()
    assert target.attacker_cost(found.attacked).item() > 0
