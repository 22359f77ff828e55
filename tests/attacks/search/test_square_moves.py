"""Squares of L2: they spend the budget, and move mass instead of adding it."""

from __future__ import annotations

import pytest
import torch

from torpor.attacks.early_exit.square import Square
from torpor.attacks.search.squares import bump, moved, tiled
from torpor.core.batches import sample_generators
from torpor.targets.early_exit.toys import needle

IMAGES = torch.rand(3, 2, 9, 7, generator=torch.Generator().manual_seed(0))


def norms(delta: torch.Tensor) -> torch.Tensor:
    lengths: torch.Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return lengths


@pytest.mark.parametrize("side", [2, 3, 4, 7])
def test_a_bump_is_odd_where_it_can_be_and_highest_in_the_middle_of_its_halves(side: int) -> None:
    pattern = bump(side)
    assert pattern.shape == (side, side)
    assert (pattern[: side // 2] > 0).all()
    assert (pattern[side // 2 :] < 0).all()
    assert pattern.abs().amax() > pattern.abs()[0, 0] or side == 2


def test_the_first_proposal_and_every_move_spend_the_budget() -> None:
    generators = sample_generators(IMAGES, 0, "square")
    delta = tiled(0.8, generators, IMAGES)
    for side in (7, 5, 3, 3, 3):
        assert norms(delta).allclose(torch.tensor(0.8), atol=1e-5)
        delta = moved(0.8, delta, generators, side)


def test_what_is_not_spent_is_spent_by_the_next_move() -> None:
    delta = moved(0.8, torch.zeros_like(IMAGES), sample_generators(IMAGES, 0, "square"), 3)
    assert norms(delta).allclose(torch.tensor(0.8), atol=1e-5)
    assert ((delta != 0).flatten(2).sum(2) <= 9).all()


def test_the_first_proposal_of_linf_is_vertical_stripes() -> None:
    inputs = needle().space.snap(torch.full((2, 1, 4, 4), 0.5))
    attack = Square(eps=0.1)
    delta = attack._first(inputs, sample_generators(inputs, 0, "square"), attack.eps)
    assert delta.abs().allclose(torch.tensor(0.1))
    assert delta.equal(delta[:, :, :1].expand_as(delta))
