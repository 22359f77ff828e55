from __future__ import annotations

import pytest
import torch

from torpor.bounds.static import static_bound
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import needle, tug


@pytest.mark.parametrize("target", [needle(), tug(5)])
def test_the_bound_is_one_run_of_every_unit(target: EarlyExitTarget) -> None:
    bound = static_bound(target)
    assert bound.units == tuple((unit.name, unit.flops, 1) for unit in target.units)
    assert bound.cost == sum(target.prices.per_unit)
    assert bound.cost_least == target.units[0].flops
    assert bound.slowdown == pytest.approx(bound.cost / bound.cost_least)


def test_no_image_costs_more_or_less(digits_target: EarlyExitTarget) -> None:
    bound = static_bound(digits_target)
    noise = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    cost = digits_target.prices.cost(digits_target.run(noise).work)
    assert bound.cost_least <= cost.min()
    assert cost.max() <= bound.cost


def test_an_input_that_never_exits_costs_the_bound() -> None:
    target = needle()
    middle = torch.full((1, 1, 4, 4), 128 / 255)
    assert target.prices.cost(target.run(middle).work).item() == static_bound(target).cost
