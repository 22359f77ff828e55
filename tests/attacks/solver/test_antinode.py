from __future__ import annotations

import pytest
import torch
from ode_targets import decay, grays, noisy, random_ode

from torpor.attacks.base import Attack
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.registry import load_attack
from torpor.attacks.solver.antinode import AntiNODE
from torpor.core.errors import UsageError
from torpor.targets.early_exit.toys import needle
from torpor.targets.ode.tableaus import ADAPTIVE_HEUN, DOPRI5, Tableau

EPS = 0.2


@pytest.mark.parametrize("tableau", [DOPRI5, ADAPTIVE_HEUN])
@pytest.mark.parametrize("attack", [AntiNODE(eps=EPS, steps=20), AntiNODE(eps=EPS, steps=20, first=2)])
def test_the_worst_case_of_the_toy_is_found(attack: Attack, tableau: Tableau) -> None:
    target, images = decay(tableau), grays(0.1, 0.3, 0.5, 0.9)
    result = attack(target, images, references=torch.zeros(4, dtype=torch.int64))
    worst = target.space.snap((target.space.snap(images) + 51 / 255).clamp(0, 1))
    assert target.run(worst).work.counts.equal(result.attacked.work.counts)


@pytest.mark.slow
def test_the_standard_ensemble_finds_the_worst_case_too() -> None:
    target, images = decay(), grays(0.3)
    result = Standard(eps=EPS)(target, images, references=torch.zeros(1, dtype=torch.int64))
    worst = target.space.snap((target.space.snap(images) + 51 / 255).clamp(0, 1))
    assert target.run(worst).work.counts.equal(result.attacked.work.counts)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_a_batch_equals_its_samples(norm: str) -> None:
    target, images, labels = random_ode(seed=3), noisy(5, 3), torch.zeros(5, dtype=torch.int64)
    attack = AntiNODE(norm=norm, eps={"Linf": 0.1, "L2": 0.4, "L1": 1.6}[norm], steps=8)
    whole = attack(target, images, references=labels, seed=1)
    parts = [attack(target, images[row : row + 1], references=labels[:1], seed=1) for row in range(5)]
    assert torch.cat([part.attacked.work.counts for part in parts]).equal(whole.attacked.work.counts)
    assert torch.cat([part.candidates.forwards for part in parts]).equal(whole.candidates.forwards)
    assert (target.prices.cost(whole.attacked.work) >= target.prices.cost(whole.clean.work)).all()


def test_it_shrinks_the_proposals_that_it_aims_at() -> None:
    target, images = random_ode(seed=3), noisy(5, 3)
    found = AntiNODE(eps=0.1, steps=20).search(target, images, torch.zeros(5), 0)
    assert (target.signals(found.inputs).sizes[:, 1] < target.signals(images).sizes[:, 1]).float().mean() > 0.5


def test_it_reads_step_sizes() -> None:
    assert load_attack("antinode", eps=0.1).threat.budget.eps == 0.1
    assert AntiNODE().iterations == 2000
    with pytest.raises(UsageError, match="expected an attack"):
        AntiNODE().check(needle())
    with pytest.raises(UsageError, match="expected 1 proposal"):
        AntiNODE(first=0)
