"""Attacks on detectors against a target of which it is known how much it can find."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from candidate_targets import BoxTracker
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torpor.attacks.base import Attack
from torpor.attacks.detector.daedalus import Daedalus
from torpor.attacks.detector.overload import Overload
from torpor.attacks.detector.phantom_sponges import PhantomSponges
from torpor.attacks.detector.slowtrack import SlowTrack
from torpor.attacks.detector.snal import SNAL
from torpor.core.signals import CandidateSignals
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget, lit


def images(mean: float, spread: float, seed: int, *, count: int = 3, height: int = 16, width: int = 24) -> Tensor:
    """Return images whose cells differ in brightness by ``spread``."""
    rng = torch.Generator().manual_seed(seed)
    cells = mean + spread * (torch.rand(count, 1, height // 4, width // 4, generator=rng) - 0.5)
    noise = 0.1 * (torch.rand(count, 1, height, width, generator=rng) - 0.5)
    return LampTarget(height, width).space.snap(cells.repeat_interleave(4, 2).repeat_interleave(4, 3) + noise)


@settings(max_examples=8)
@given(st.floats(0, 0.5), st.floats(0, 0.8), st.floats(1 / 255, 0.3), st.integers(0, 2**20))
def test_no_attack_beats_the_closed_form(mean: float, spread: float, eps: float, seed: int) -> None:
    target, inputs = LampTarget(), images(mean, spread, seed)
    known = torch.cat([lit(5)[0], images(mean, spread, seed + 1)])
    fitted = [PhantomSponges(eps=eps, epochs=5).fit(target, known), SNAL(eps=eps, queries=5).fit(target, known)]
    for attack in (Overload(eps=eps, steps=6), Daedalus(eps=eps, steps=6), *fitted):
        result = attack(target, inputs)
        assert (result.attacked.work.counts[:, 1] <= target.worst_candidates(inputs, eps)).all()


@pytest.mark.parametrize(("height", "width"), [(16, 24), (24, 8)])
@pytest.mark.parametrize("concave", ["log", "tanh"])
@pytest.mark.parametrize("steps", [3, 10, 50])
def test_overload_reaches_the_worst_case(steps: int, concave: Any, height: int, width: int) -> None:  # noqa: ANN401
    target = LampTarget(height, width)
    inputs = images(0.2, 0.3, 4, count=6, height=height, width=width)
    eps = 16 / 255
    result = Overload(eps=eps, steps=steps, concave=concave)(target, inputs)
    found, worst = result.attacked.work.counts[:, 1], target.worst_candidates(inputs, eps)
    assert found.equal(worst)
    assert (found > result.clean.work.counts[:, 1]).all()


@pytest.mark.parametrize("attack", [Daedalus(eps=0.1, steps=60), PhantomSponges(eps=0.1, epochs=20)])
def test_others_come_near_it(attack: Attack) -> None:
    target, inputs = LampTarget(), images(0.25, 0.3, 4, count=6)
    fitted = attack.fit(target, images(0.25, 0.3, 5, count=8))
    found = fitted(target, inputs).attacked.work.counts[:, 1]
    assert (found >= 0.9 * target.worst_candidates(inputs, 0.1)).all()


def test_loss_and_hard_cost_move_together() -> None:
    """Attacks go down: one that climbed its loss would find fewer candidates, not more."""
    target, inputs = LampTarget(), images(0.25, 0.2, 6)
    for attack in (Overload(eps=0.1, steps=5), Daedalus(eps=0.1, steps=5), Overload(norm="L2", eps=2.0, steps=5)):
        result = attack(target, inputs)
        assert result.candidates.loss_fell is not None
        assert result.candidates.loss_fell.all()
        assert (result.attacked.work.counts[:, 1] > result.clean.work.counts[:, 1]).all()


@pytest.mark.parametrize("steps", [4, 6, 50])
@pytest.mark.parametrize("kind", [Overload, Daedalus])
def test_the_budget_can_be_used_up(kind: type[Overload | Daedalus], steps: int) -> None:
    target, inputs = LampTarget(), images(0.3, 0.2, 7)
    change = (kind(eps=16 / 255, steps=steps)(target, inputs).candidates.inputs - inputs) * 255
    assert change.abs().amax((1, 2, 3)).round().tolist() == [16] * len(inputs)


def test_caps_are_the_target_s() -> None:
    """Where few boxes may be compared, candidates beyond cost next to nothing, and no attack lifts the cap."""
    target = LampTarget(nms=NMS(max_nms=6, max_det=3))
    result = Overload(eps=0.2, steps=5)(target, images(0.25, 0.2, 8))
    assert (result.attacked.work.counts <= target.max_work(result.inputs).counts).all()
    assert result.attacked.work.counts[:, 2].tolist() == [15] * 3
    assert [len(output) for output in result.attacked.outputs] == [3] * 3


class ZeroGradient(LampTarget):
    """A target whose signals carry no gradient."""

    def signals(self, inputs: Tensor) -> CandidateSignals:
        found = super().signals(inputs.detach())
        return CandidateSignals(found.boxes, found.scores + 0 * inputs.sum(), found.work)


def test_dead_gradients_are_flagged() -> None:
    target, inputs = ZeroGradient(), images(0.3, 0.2, 9)
    for attack in (Overload(steps=2), Daedalus(steps=2), PhantomSponges(epochs=1).fit(ZeroGradient(), inputs)):
        found = attack(target, inputs).candidates
        assert found.zero_gradient is not None
        assert found.zero_gradient.all()


def test_the_costliest_iterate_counts_not_the_last() -> None:
    """A target whose scores look the lower, the higher they are: only the hard cost is evidence."""

    class Deceptive(LampTarget):
        def signals(self, inputs: Tensor) -> CandidateSignals:
            found = super().signals(inputs)
            return CandidateSignals(found.boxes, 1 - found.scores, found.work)

    target, inputs = Deceptive(), images(0.3, 0.2, 10)
    for attack in (Overload(eps=0.2, steps=4), Daedalus(eps=0.2, steps=4)):
        found = attack(target, inputs).candidates.inputs
        assert (target.run(found).work.counts[:, 1] >= target.run(inputs).work.counts[:, 1]).all()


@pytest.mark.parametrize("steps", [60, 220])
def test_slowtrack_keeps_all_tracks_alive_where_the_detector_returns_few_boxes(steps: int) -> None:
    """Four boxes are kept in a frame: lit in turns, six regions of four cells each still have all their tracks."""
    target = BoxTracker(LampTarget(nms=NMS(max_det=4)), frames=30, buffer=6)
    video = images(0.2, 0.05, 11, count=30).unsqueeze(0)
    attacks = [kind(norm="L2", eps=0.8, steps=steps) for kind in (SlowTrack, Overload)]
    slow, many = (attack(target, video).attacked for attack in attacks)
    assert target.alive(slow.outputs[0])[-5:] == [24] * 5
    assert (slow.work.counts[:, -1] > 2 * many.work.counts[:, -1]).all()
