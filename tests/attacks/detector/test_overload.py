from __future__ import annotations

import pytest
import torch
from candidate_targets import BoxTracker, inputs_of, random_detector

from torpor.attacks.detector.overload import PAPER, ManyBoxes, Overload, PacedSteps, crowds, pace
from torpor.attacks.registry import load_attack
from torpor.attacks.search.balls import BALLS
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals
from torpor.core.work import Work
from torpor.targets.detector.toy_boxes import LampTarget

NOTHING = Work(torch.zeros(1, 3, dtype=torch.int64))


def signals(*scores: float) -> CandidateSignals:
    leaf = torch.tensor([[[score] for score in scores]], requires_grad=True)
    return CandidateSignals(torch.rand(1, len(scores), 4), leaf, NOTHING)


@pytest.mark.parametrize("concave", ["log", "tanh"])
def test_weak_boxes_get_the_larger_gradient(concave: str) -> None:
    found = signals(0.05, 0.2, 0.9)
    loss = ManyBoxes(0.25, (8, 8), 2, concave)(found, 0, {})  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(loss.sum(), found.scores)
    weak, middle, strong = gradient.flatten().tolist()
    assert weak < middle < strong < 0


def test_scores_of_zero_have_a_finite_loss_and_a_gradient() -> None:
    found = signals(0.0, 1.0)
    loss = ManyBoxes(0.25, (8, 8), 2, "log")(found, 0, {})
    (gradient,) = torch.autograd.grad(loss.sum(), found.scores)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[0, 0] < 0


def test_cells_are_counted_where_they_are_in_images_that_are_not_square() -> None:
    """Four objects in the upper right corner of a wide image slow that corner, not the lower left."""
    boxes = torch.tensor([[30.0, 1, 38, 5]]).expand(1, 4, 4)
    counts = crowds(boxes, torch.ones(1, 4, dtype=torch.bool), (20, 40), 5)
    assert counts[0].nonzero().tolist() == [[0, 4]]
    paces = pace(counts, (20, 40))[0, 0, 0]
    assert (paces[:4, 32:] == 0.5).all()
    assert (paces == 0.5).sum() == 4 * 8
    assert paces.max() == 1


def test_all_cells_are_equally_fast_where_all_are_equally_full() -> None:
    assert (pace(torch.full((1, 5, 5), 3.0), (17, 31)) == 1).all()


def test_boxes_outside_count_at_the_edge() -> None:
    boxes = torch.tensor([[[-9.0, -9, -1, -1], [99, 99, 120, 120]]])
    assert crowds(boxes, torch.ones(1, 2, dtype=torch.bool), (8, 8), 2)[0].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_a_step_is_as_long_as_the_pace(norm: str) -> None:
    gradient = torch.randn(2, 1, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    state = {"pace": torch.tensor([1.0, 0.5]).view(2, 1, 1, 1, 1)}
    step = PacedSteps(0.2).step(
        BALLS[norm], torch.zeros_like(gradient), gradient, torch.zeros(2), 0, state, lambda values: values
    )
    assert BALLS[norm].norm(step).tolist() == pytest.approx([0.2, 0.1])
    assert (step * gradient <= 0).all()


def test_one_perturbation_for_all_frames() -> None:
    target = BoxTracker(LampTarget(), frames=3, buffer=2)
    videos = inputs_of(target)[1:2].clamp(0.2, 0.8)
    videos = target.space.snap(videos)
    change = (Overload(eps=0.1, steps=6, same_for_all=True)(target, videos).candidates.inputs - videos) * 255
    assert (change - change[:, :1]).abs().max() < 0.01
    each = (Overload(eps=0.1, steps=6)(target, videos).candidates.inputs - videos) * 255
    assert each.abs().max().round() == 25


def test_frames_are_attacked_like_images() -> None:
    target = BoxTracker(random_detector(), frames=3, buffer=2)
    videos = inputs_of(target)
    attack = Overload(eps=0.05, steps=4)
    found = attack(target, videos).candidates.inputs[2]
    alone = attack(target.detector, videos[2]).candidates.inputs
    assert (found == alone).double().mean() > 0.9


def test_radii_grow_with_the_image_and_hold_per_frame() -> None:
    assert Overload.default_budget("L2", shape=(3, 640, 640)).eps == 15
    assert Overload.default_budget("L2", shape=(3, 64, 64)).eps == pytest.approx(1.5)
    assert Overload.default_budget("L2", shape=(30, 3, 64, 64)).eps == pytest.approx(1.5)
    assert Overload.default_budget(shape=(3, 64, 64)).eps == 8 / 255
    assert load_attack("overload", same_for_all=True).paper is PAPER


@pytest.mark.parametrize("options", [{"grid": 0}, {"concave": "cube"}, {"steps": 0}, {"norm": "L1"}])
def test_impossible_settings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Overload(**options)  # type: ignore[arg-type]
