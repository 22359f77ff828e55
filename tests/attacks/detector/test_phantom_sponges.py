from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from candidate_targets import BoxTracker, inputs_of, random_detector
from torch import nn

from torpor.attacks.detector.phantom_sponges import MARGIN, Phantoms, PhantomSponges, SignedSteps
from torpor.attacks.registry import load_attack
from torpor.attacks.search.balls import BALLS
from torpor.attacks.universal import Learned
from torpor.core.errors import UsageError
from torpor.core.objects import Objects
from torpor.core.signals import CandidateSignals
from torpor.core.work import Work
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import Lamps, LampTarget

NOTHING = Work(torch.zeros(1, 3, dtype=torch.int64))
NONE = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
TERMS = Phantoms(NMS(), pixels=100, label=0, confidence=1.0, area=0.0)


def signals(scores: Sequence[Sequence[float]], boxes: Sequence[Sequence[float]] | None = None) -> CandidateSignals:
    known = torch.tensor([0.0, 0, 5, 5]).expand(1, len(scores), 4) if boxes is None else torch.tensor([boxes])
    return CandidateSignals(known.float(), torch.tensor([scores]).float().requires_grad_(), NOTHING)


def test_scores_of_the_label_rise_where_no_class_has_passed() -> None:
    found = signals([[0.1, 0.2], [0.1, 0.9], [0.27, 0.0], [0.4, 0.0]])
    loss = TERMS(found, [NONE])
    assert loss.item() == pytest.approx((0.2 + 0.03) / 4)
    (gradient,) = torch.autograd.grad(loss.sum(), found.scores)
    assert gradient[0, :, 0].tolist() == [-0.25, 0, -0.25, 0]  # still alive just above the threshold of 0.25
    assert not gradient[..., 1].any()
    assert MARGIN > 0.02


def test_without_a_label_the_likeliest_class_of_each_box_rises() -> None:
    found = signals([[0.1, 0.2], [0.1, 0.9], [0.27, 0.0], [0.4, 0.0]])
    loss = replace(TERMS, label=None)(found, [NONE])
    assert loss.item() == pytest.approx((0.1 + 0.03) / 4)
    (gradient,) = torch.autograd.grad(loss.sum(), found.scores)
    assert gradient[0].tolist() == [[0, -0.25], [0, 0], [-0.25, 0], [0, 0]]
    assert PhantomSponges().label is None


def test_the_log_form_raises_weak_scores_most() -> None:
    found = signals([[0.1, 0.2], [0.1, 0.9], [0.001, 0.0]])
    loss = replace(TERMS, label=None, form="log")(found, [NONE])
    assert loss.item() == pytest.approx(-(math.log(0.2) + math.log(0.9) + math.log(0.001)) / 3, rel=1e-3)
    (gradient,) = torch.autograd.grad(loss.sum(), found.scores)
    assert gradient[0, 2, 0] < 100 * gradient[0, 0, 1] < 0  # a likelihood of 0.2 and of 0.001
    with pytest.raises(UsageError, match="expected linear or log"):
        PhantomSponges(form="square")  # type: ignore[arg-type]


def test_the_log_form_is_an_option_of_the_attack() -> None:
    attack = load_attack("phantom-sponges:form=log:epochs=10")
    assert attack.name == "phantom-sponges:form=log:epochs=10"
    target = DetectorTarget(Timid(), input_shape=(1, 8, 12), nms=NMS())
    known = torch.full((4, 1, 8, 12), 128 / 255)
    assert int(attack.fit(target, known)(target, known[:1]).attacked.work.counts[0, 1]) == 6


class Timid(nn.Module):
    """Scores next to nothing but in the first of six cells; all boxes shrink as the image brightens."""

    first: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.tensor([[2.0], *[[-4.0]] * 5]))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        boxes, mean = Lamps()(images)
        score = torch.sigmoid(100 * (mean - 0.5) + self.first)
        sides = 40 * (images.mean((1, 2, 3)) - 0.5).view(-1, 1, 1)
        return torch.cat([boxes[..., :2], boxes[..., 2:] - sides], 2), torch.cat([score, score / 2], 2)


def test_the_defaults_find_boxes_where_scores_are_next_to_nothing() -> None:
    """The weight of 0.75 lets the overlap decide: what is there stays, and nothing appears."""
    target = DetectorTarget(Timid(), input_shape=(1, 8, 12), nms=NMS())
    known = torch.full((4, 1, 8, 12), 128 / 255)
    found = {
        weight: int(
            PhantomSponges(confidence=weight, epochs=10)
            .fit(target, known)(target, known[:1])
            .attacked.work.counts[0, 1]
        )
        for weight in (PhantomSponges().confidence, 0.75)
    }
    assert found == {1.0: 6, 0.75: 1}


def test_area_is_that_of_candidates_and_zero_without_any() -> None:
    terms = replace(TERMS, confidence=1.0, area=10.0)
    boxes: list[list[float]] = [[0.0, 0, 2, 5], [0, 0, 10, 10]]
    rest = (0.3 - 0.2) / 2
    assert terms(signals([[0.5], [0.2]], boxes), [NONE]).item() == pytest.approx(rest + 10 * 0.1)
    none = terms(signals([[0.2], [0.2]], boxes), [NONE])
    assert none.item() == pytest.approx(0.1)  # neither NaN nor dropped
    assert terms.confidence == 1


def test_what_was_there_is_to_be_kept() -> None:
    terms = replace(TERMS, confidence=0.0)
    true = Objects(torch.tensor([[0.0, 0, 4, 4], [6, 6, 8, 8]]), torch.tensor([0, 1]))
    near: list[list[float]] = [[0.0, 0, 4, 2], [6, 6, 8, 8]]
    assert terms(signals([[0.9, 0], [0, 0.9]], near), [true]).item() == pytest.approx(1 - (0.5 + 1) / 2)
    wrong = terms(signals([[0, 0.9], [0.9, 0]], near), [true])
    assert wrong.item() == pytest.approx(1)  # of another class
    assert terms(signals([[0, 0], [0, 0]], near), [true]).item() == pytest.approx(1)  # below a thousandth
    assert terms(signals([[0.9, 0], [0, 0.9]], near), [NONE]).item() == 0


def test_the_overlap_has_a_gradient() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 2]]], requires_grad=True)
    known = Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0]))
    loss = replace(TERMS, confidence=0.0)(CandidateSignals(boxes, torch.tensor([[[0.9]]]), NOTHING), [known])
    (gradient,) = torch.autograd.grad(loss.sum(), boxes)
    assert gradient[0, 0, 3] < 0


class Shadows(LampTarget):
    """A detector of dark cells."""

    def _propose(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        boxes, scores = super()._propose(images)
        return boxes, 1 - scores


def test_perturbations_may_darken_as_well_as_brighten() -> None:
    for target, sign in ((LampTarget(), 1), (Shadows(), -1)):
        known = torch.full((4, 1, 16, 24), 0.5 - 0.3 * sign)
        learned = PhantomSponges(eps=0.1).fit(target, target.space.snap(known)).learned
        assert learned is not None
        assert (sign * learned.perturbations > 0.04).all()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("epochs", [1, 70])
def test_the_budget_can_be_used_up_and_is_kept(norm: str, epochs: int) -> None:
    target = random_detector()
    eps = {"Linf": 0.1, "L2": 0.8}[norm]
    known = inputs_of(target, other=True).repeat(3, 1, 1, 1)[:9]
    learned = PhantomSponges(norm=norm, eps=eps, epochs=epochs).fit(target, known).learned
    assert learned is not None
    assert 0.5 * eps < BALLS[norm].norm(learned.perturbations).item() <= eps * (1 + 1e-6)
    assert learned.perturbations.min() < 0 < learned.perturbations.max()


def test_it_learns_from_the_frames_of_videos_and_changes_all_alike() -> None:
    target = BoxTracker(LampTarget(), frames=3, buffer=2)
    attack = PhantomSponges(eps=0.1, epochs=10).fit(target, inputs_of(target, other=True))
    assert isinstance(attack.learned, Learned)
    assert attack.learned.perturbations.shape == (1, 1, 16, 24)
    videos = inputs_of(target)
    sent = attack(target, videos).candidates.inputs
    assert sent.equal(videos + attack.learned.perturbations)


def test_passes_of_learning_are_counted() -> None:
    target = LampTarget()
    learned = PhantomSponges(epochs=2).fit(target, torch.rand(12, 1, 16, 24).mul(255).round() / 255).learned
    assert learned is not None
    assert learned.backwards == 2 * 12
    assert learned.forwards == 12 + 2 * 12 + 4 * 12  # clean images, steps, and a look at each of four perturbations


def test_steps_are_signed_in_any_ball() -> None:
    moved = SignedSteps(0.5).step(
        BALLS["L2"], torch.zeros(1, 3), torch.tensor([[2.0, -0.1, 0.0]]), torch.zeros(1), 0, {}, lambda values: values
    )
    assert moved.tolist() == [[-0.5, 0.5, 0.0]]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="label below 1"):
        PhantomSponges(label=1).fit(LampTarget(), torch.zeros(1, 1, 16, 24))
    with pytest.raises(UsageError, match="confidence weight from 0 to 1"):
        PhantomSponges(confidence=2)
    with pytest.raises(UsageError, match="before fit"):
        PhantomSponges()(LampTarget(), torch.zeros(1, 1, 16, 24))
    assert PhantomSponges.default_budget("L2", shape=(3, 640, 640)).eps == 70
