from __future__ import annotations

import pytest
import torch
from candidate_targets import inputs_of, random_detector

from torpor.attacks.detector.daedalus import Daedalus, SureAndSmall
from torpor.core.signals import CandidateSignals
from torpor.core.work import Work
from torpor.targets.detector.toy_boxes import LampTarget


def test_the_loss_falls_with_surer_and_with_smaller_boxes() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 8, 8]]], requires_grad=True)
    scores = torch.tensor([[[0.2, 0.6], [0.9, 0.1]]], requires_grad=True)
    loss = SureAndSmall(64)(CandidateSignals(boxes, scores, Work(torch.zeros(1, 3, dtype=torch.int64))), 0, {})
    assert loss.tolist() == [pytest.approx((0.4**2 + 0.1**2) / 2 + (0.25**2 + 1) / 2)]
    of_boxes, of_scores = torch.autograd.grad(loss.sum(), [boxes, scores])
    assert (of_boxes[..., 2:] > 0).all()
    assert of_scores[0].tolist() == [[0, pytest.approx(-0.4)], [pytest.approx(-0.1), 0]]


def test_the_search_starts_from_the_image_itself() -> None:
    target = random_detector()
    inputs = inputs_of(target)
    first = Daedalus(eps=1 / 255, steps=1)(target, inputs).candidates.inputs
    assert ((first - inputs).abs() * 255).max().round() <= 1


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_few_steps_are_longer(norm: str) -> None:
    target = LampTarget()
    inputs = target.space.snap(torch.full((1, 1, 16, 24), 0.22))
    eps = {"Linf": 0.2, "L2": 3.0}[norm]
    for steps in (4, 100):
        change = Daedalus(norm=norm, eps=eps, steps=steps)(target, inputs).candidates.inputs - inputs
        size = change.abs().max() if norm == "Linf" else change.square().sum().sqrt()
        assert size.item() == pytest.approx(eps, rel=0.1)


def test_frames_are_attacked_one_by_one_and_black_pixels_stay_finite() -> None:
    target = random_detector()
    inputs = torch.zeros(1, *target.space.shape)
    assert Daedalus(eps=0.1, steps=3)(target, inputs).candidates.inputs.isfinite().all()
