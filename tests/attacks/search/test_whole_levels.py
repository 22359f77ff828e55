"""Radii that no file can hold: one beside a level is that level, others are said as what was spent."""

from __future__ import annotations

import pytest
import torch
from attack_cases import images

from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.attacks.search.balls import BALLS, spendable
from torpor.core.budget import Budget, budget_text, whole_levels
from torpor.core.space import ImageSpace, WaveSpace
from torpor.targets.early_exit.toys import needle


@pytest.mark.parametrize("level", [1, 2, 8, 16, 25, 255])
def test_a_radius_beside_a_level_is_that_level(level: int) -> None:
    short = min(level / 100, 0.05)
    for eps in (level, level - 0.9 * short, level + 0.5):
        assert whole_levels(eps / 255, 255) == level
    assert whole_levels((level - 1.1 * short) / 255, 255) == level - 1


def test_deepsloth_s_own_radius_spends_eight_levels() -> None:
    inputs, labels = images(needle(), 6)
    result = DeepSloth()(needle(), inputs, references=labels)
    change = ((result.candidates.inputs - result.clean_inputs) * 255).round().abs().flatten(1).amax(1)
    assert change.max() == 8
    assert result.budget_used.max() <= 1 + 1e-5


@pytest.mark.parametrize(("eps", "said"), [(0.03125, "Linf 8/255"), (7.5 / 255, "Linf 0.02941 (7/255 spent)")])
def test_what_was_spent_is_said(eps: float, said: str) -> None:
    budget = Budget("Linf", eps)
    row = {"norm": "Linf", "eps": eps, "eps_spent": spendable(budget, ImageSpace((1, 2, 2)))}
    assert budget_text(row) == said


def test_other_norms_and_sounds_lose_nothing_worth_saying() -> None:
    assert spendable(Budget("L2", 0.35), ImageSpace((1, 2, 2))) == 0.35
    assert spendable(Budget("Linf", 0.002), WaveSpace((8,), rate=8)) == pytest.approx(0.002, rel=0.01)


@pytest.mark.parametrize("norm", ["L2", "L1"])
@pytest.mark.parametrize("eps", [0.03, 0.349, 2.0])
def test_no_distance_exceeds_other_norms(norm: str, eps: float) -> None:
    delta = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    snapped = (BALLS[norm].snap(delta, eps, 255).to(torch.float64) * 255).round() / 255
    size = snapped.flatten(1).norm(dim=1) if norm == "L2" else snapped.flatten(1).abs().sum(1)
    assert (size <= eps * (1 + 2e-6)).all()
