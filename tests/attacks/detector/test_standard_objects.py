"""The standard ensemble on detectors and trackers, where it is known how much there is to find."""

from __future__ import annotations

import pytest
import torch
from candidate_targets import BoxTracker, inputs_of, random_detector
from torch import Tensor

from torpor.attacks.detector.objectives import AnyClass, ClassPairs, OneClass
from torpor.attacks.detector.overload import Overload
from torpor.attacks.detector.slowtrack import SlowTrack
from torpor.attacks.detector.standard import StandardObjects
from torpor.attacks.registry import default_attacks, load_attack
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals
from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget, lit

NOTHING = Work(torch.zeros(1, 3, dtype=torch.int64))


def signals(scores: list[list[float]]) -> CandidateSignals:
    return CandidateSignals(torch.zeros(1, len(scores), 4), torch.tensor([scores]).requires_grad_(), NOTHING)


def test_pairs_count_the_classes_that_have_candidates() -> None:
    found = signals([[0.9, 0.3, 1e-4], [0.9, 0.01, 1e-4], [0.9, 0.01, 1e-4]])
    loss = ClassPairs(0.25)(found, 0, {})
    (gradient,) = torch.autograd.grad(loss.sum(), found.scores)
    shares = (-gradient * found.scores.detach())[0, 0]  # the weight of each logarithm
    assert shares.sum().item() == pytest.approx(1, abs=1e-4)
    assert shares[0] > 0.8 > 0.01 > shares[2]


def test_one_class_stays_the_one_that_it_began_with() -> None:
    state: dict[str, Tensor] = {}
    first, later = signals([[0.4, 0.2], [0.2, 0.3]]), signals([[0.1, 0.9], [0.1, 0.9]])
    assert OneClass()(first, 0, state).item() == pytest.approx(-torch.tensor([0.4, 0.2]).log().sum().item(), abs=1e-4)
    assert OneClass()(later, 1, state).item() == pytest.approx(-2 * torch.tensor(0.1).log().item(), abs=1e-4)
    assert AnyClass()(later, 1, {}).item() < OneClass()(later, 1, state).item()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_it_reaches_the_worst_case_and_costs_no_less_than_overload(norm: str) -> None:
    target, eps = LampTarget(), {"Linf": 16 / 255, "L2": 0.6}[norm]
    inputs = inputs_of(target)
    found = StandardObjects(norm=norm, eps=eps, passes=60)(target, inputs)
    if norm == "Linf":
        assert found.attacked.work.counts[:, 1].equal(target.worst_candidates(inputs, eps))
    other = Overload(norm=norm, eps=eps, steps=59)(target, inputs)
    assert (target.prices.cost(found.attacked.work) >= target.prices.cost(other.attacked.work)).all()
    assert found.candidates.forwards.tolist() == [60] * 4


def test_on_a_network_it_costs_more_than_overload_with_as_many_passes() -> None:
    target = random_detector()
    inputs = inputs_of(target)
    found, other = (
        attack(target, inputs) for attack in (StandardObjects(eps=0.1, passes=120), Overload(eps=0.1, steps=119))
    )
    mine, theirs = (target.prices.cost(each.attacked.work) for each in (found, other))
    assert (mine >= theirs).all()
    assert (mine > theirs).sum() >= 2


def test_a_bare_detector_hands_on_the_most_objects_whatever_they_cost() -> None:
    """Boxes of one class make the most pairs; of several classes, more are kept."""
    target = random_detector()
    ranked = target.ranked()
    inputs = inputs_of(target)
    outcome, priced = target.run(inputs), ranked.run(inputs)
    kept = torch.tensor([len(found) for found in outcome.outputs])
    assert priced.work.counts[:, -1].equal(kept)
    price = ranked.prices.per_unit[-1]
    assert price > target.prices.cost(target.static_work()).item()
    assert (ranked.prices.cost(priced.work) - price * kept).equal(target.prices.cost(outcome.work))
    assert ranked.ranked() is ranked
    attack = StandardObjects(eps=0.02, passes=60)
    found, other = attack(target, inputs), Overload(eps=0.02, steps=59)(target, inputs)
    most, others = ([len(objects) for objects in each.attacked.outputs] for each in (found, other))
    assert 4 * target.nms.max_det > sum(most) >= sum(others)
    costs = target.prices.cost(found.attacked.work).tolist()
    assert found.curves is not None
    assert [curve[-1].cost for curve in found.curves] == costs
    assert {point.member for curve in found.curves for point in curve} <= {
        "AnyClass",
        "OneClass",
        "ClassPairs",
        "square",
    }


def test_frames_and_whole_videos_are_chosen_by_the_cost_of_the_pipeline() -> None:
    """Where a live track costs more than everything else, the video that lights regions in turns wins."""
    target = BoxTracker(LampTarget(nms=NMS(max_det=4)), frames=30, buffer=6)
    target.units = (*target.units[:-1], Unit("track_alive", 10**9, "tracker"))
    rng = torch.Generator().manual_seed(11)
    video = target.space.snap(0.2 + 0.05 * (torch.rand(1, *target.space.shape, generator=rng) - 0.5))
    attacks = [
        StandardObjects(norm="L2", eps=0.8),
        *(kind(norm="L2", eps=0.8, steps=35) for kind in (SlowTrack, Overload)),
    ]
    found, slow, many = (attack(target, video) for attack in attacks)
    alive = [each.attacked.work.counts[0, -1].item() for each in (found, slow, many)]
    assert alive[0] >= alive[1] > 1.5 * alive[2]


class Masked(LampTarget):
    """A target whose signals carry no gradient."""

    def signals(self, inputs: Tensor) -> CandidateSignals:
        found = super().signals(inputs.detach())
        return CandidateSignals(found.boxes, found.scores.detach() + 0 * inputs.sum(), found.work)


def test_without_gradients_random_search_has_their_passes_and_says_so() -> None:
    target = Masked()
    inputs = lit(3)[0] * 0.4
    inputs = target.space.snap(inputs)
    found = StandardObjects(eps=0.15, passes=120)(target, inputs).candidates
    assert found.zero_gradient is not None
    assert found.black_box_won is not None
    assert found.zero_gradient.all()
    assert found.black_box_won.all()
    assert found.forwards.item() == 120


def test_it_is_the_default_of_its_family_and_takes_no_steps() -> None:
    assert default_attacks(LampTarget()) == ("standard-detector", "phantom-sponges")
    assert default_attacks(BoxTracker(LampTarget(), 3, 2)) == ("standard-detector", "phantom-sponges", "slowtrack")
    assert StandardObjects.covered() == ("overload", "slowtrack")
    with pytest.raises(UsageError, match="no number of steps"):
        load_attack("standard-detector", steps=3)
    with pytest.raises(UsageError, match="40 passes or more"):
        StandardObjects(passes=39)
