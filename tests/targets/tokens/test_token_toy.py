"""A transformer whose costliest input is known: bright patches halt sooner."""

from __future__ import annotations

import pytest
import torch
from token_targets import bright, layers_of_bright

from torpor.attacks.early_exit.climbs import AutoExpected, AutoGates

IMAGES = torch.tensor([[[[0.2, 0.5], [0.6, 0.9]]], [[[0.1, 0.1], [0.1, 0.1]]], [[[1.0, 1.0], [1.0, 0.7]]]])


def test_layers_are_those_of_the_closed_form() -> None:
    target, images = bright(), bright().space.snap(IMAGES)
    alive = target.signals(images).alive.sum(1)
    assert alive.tolist() == layers_of_bright(images).tolist()
    assert target.tokens(target.run(images).work).tolist() == layers_of_bright(images).sum(1).tolist()


def test_ponder_is_layers_and_remainder() -> None:
    target, images = bright(), bright().space.snap(IMAGES)
    halting, ran = (8 * images.flatten(1) - 4).sigmoid(), layers_of_bright(images)
    expected = (ran + 1 - halting * (ran - 1)).mean(1)
    torch.testing.assert_close(target.signals(images).ponder, expected)


@pytest.mark.parametrize("eps", [8 / 255, 32 / 255])
@pytest.mark.parametrize("member", [AutoGates, AutoExpected])
def test_gradients_find_the_costliest_input(eps: float, member: type[AutoGates]) -> None:
    target = bright()
    images = target.space.snap(IMAGES)
    result = member(eps=eps, steps=20)(target, images, references=torch.zeros(3, dtype=torch.int64), seed=0)
    worst = layers_of_bright(target.space.snap((images - eps).clamp_min(0)))
    assert target.tokens(result.attacked.work).tolist() == worst.sum(1).tolist()
