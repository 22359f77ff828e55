"""Attacks on gates that are no exits: layer skipping, with its worst case in closed form."""

from __future__ import annotations

import pytest
import torch
from attack_cases import noise
from skip_targets import SKIP_TARGETS, SkipWindows, images_of, nested, torn

from torpor.attacks.base import Attack
from torpor.attacks.controls.dense import BestNoise, Flat, Noise, Shuffled
from torpor.attacks.early_exit.climbs import AutoCostliest, AutoGates, AutoNearest, AutoPriced
from torpor.attacks.early_exit.square import Square
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.registry import default_attacks, load_attack
from torpor.core.errors import UsageError

MEMBERS: tuple[type[Attack], ...] = (AutoGates, AutoPriced, AutoCostliest, AutoNearest, Square)


def reached(attack: Attack, target: SkipWindows) -> torch.Tensor:
    """Tell for which images an attack reaches the worst case, bool ``[B]``; none may exceed it."""
    inputs = images_of(target)
    worst = target.worst_cost(inputs, attack.eps)
    cost = target.prices.cost(attack(target, inputs, seed=3).attacked.work)
    assert (cost <= worst).all()
    return cost == worst


@pytest.mark.parametrize("eps", [0.1, 0.3])
@pytest.mark.parametrize("name", SKIP_TARGETS)
def test_standard_reaches_the_worst_case(name: str, eps: float) -> None:
    target = SKIP_TARGETS[name]()
    inputs = images_of(target)
    clean = target.prices.cost(target.run(inputs).work)
    assert (target.worst_cost(inputs, eps) > clean).sum() >= len(inputs) // 3  # else there is nothing to find
    assert reached(Standard(eps=eps), target).all()


def test_no_member_alone_finds_all_of_it() -> None:
    found = {kind.id: reached(kind(eps=0.3), torn()) for kind in MEMBERS}
    assert all(not each.all() for each in found.values()), found


def test_gates_without_a_gradient_are_found_by_queries() -> None:
    target = SkipWindows([0.5, 0.6], [0.2, 0.15], [3, 5], honest=False)
    found = Standard(eps=0.3)(target, images_of(target), seed=3)
    worst = target.worst_cost(images_of(target), 0.3)
    assert target.prices.cost(found.attacked.work).equal(worst)
    assert found.candidates.zero_gradient is not None
    costlier = target.prices.cost(found.attacked.work) > target.prices.cost(found.clean.work)
    assert costlier.any()


def test_results_do_not_depend_on_the_batch() -> None:
    target = torn()
    inputs = images_of(target)[4:7]
    attack = Standard(eps=0.1)
    whole = attack(target, inputs, seed=3)
    for row in range(len(inputs)):
        alone = attack(target, inputs[row : row + 1], seed=3)
        assert alone.inputs.equal(whole.inputs[row : row + 1])
        assert alone.candidates.forwards.equal(whole.candidates.forwards[row : row + 1])


@pytest.mark.parametrize("name", ["deepsloth", "deepsloth-universal", "pgd", "pgd-avg", "pgd-max", "uap"])
def test_attacks_on_exits_say_that_there_are_none(name: str) -> None:
    with pytest.raises(UsageError, match=rf"offers exits for {name}, got toy-skip \(layer skipping of image inputs\)"):
        load_attack(name).check(nested())


def test_signals_without_exits_have_no_scores_of_exits() -> None:
    with pytest.raises(UsageError, match="class scores of exits, got gates without"):
        _ = nested().signals(images_of(nested())).exit_logits


def test_what_asks_for_no_exits_runs() -> None:
    target, inputs = nested(), images_of(nested())
    free = Shuffled(eps=0.1, perturbation=noise("Linf", 0.1, inputs))
    for attack in (Noise(eps=0.1), Flat(eps=0.1), free, Square(eps=0.1, queries=5)):
        assert (attack(target, inputs).attacked.work.counts[:, 0] == 1).all()
    assert default_attacks(target) == ("standard",)
    with pytest.raises(UsageError, match="expected an attack on layer skipping"):
        BestNoise(eps=0.1, queries=torch.ones(len(inputs))).check(target)
