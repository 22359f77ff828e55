"""What targets offer beyond what every target must do: ladders of caps, and features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from torpor.targets.base import Target
from torpor.targets.capabilities import Capped, Differentiable, Featured, Probed, Scored
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget, lit
from torpor.targets.detector.tracking import TrackerTarget
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import needle

GRAY: Tensor = torch.tensor([0.5, 0.2]).view(2, 1, 1, 1).expand(2, 1, 4, 4)


def lamps() -> TrackerTarget:
    pytest.importorskip("trackers")
    return TrackerTarget(LampTarget(8, 12), frames=3)


LADDERS: dict[str, tuple[Callable[[], Target], object, int]] = {
    "exits": (needle, GRAY, 3),  # 4 exits; two must be left
    "steps": (lambda: PeakTarget(cap=40), GRAY, 40),
    "text": (lambda: ToyText(cap=30), ("99", "a cat"), 30),
    "boxes": (lambda: LampTarget(nms=NMS(conf=0.1, max_nms=20, max_det=9)), lit(24)[0], 20),
    "tracks": (lamps, torch.rand(2, 3, 1, 8, 12, generator=torch.Generator().manual_seed(0)), 300),
}


@pytest.mark.parametrize("name", LADDERS)
def test_each_rung_costs_no_more_than_the_last(name: str) -> None:
    make, inputs, count = LADDERS[name]
    target = make()
    assert target.offers("rungs", "at_rung")
    assert target.rungs() == count  # type: ignore[attr-defined]
    last = target.max_work(inputs).counts
    assert target.at_rung(0).max_work(inputs).counts.equal(last)  # type: ignore[attr-defined]
    for rung in range(count):
        smaller: Target = target.at_rung(rung)  # type: ignore[attr-defined]
        bound = smaller.max_work(inputs).counts
        assert smaller.units == target.units
        assert (bound <= last).all()
        last = bound
        if rung in (0, 1, count // 2, count - 1):
            assert (smaller.run(inputs).work.counts <= bound).all()
    assert last.sum() < target.max_work(inputs).counts.sum()


def test_a_rung_of_exits_has_all_units_and_its_own_ladder() -> None:
    target = needle().at_rung(1)
    assert target.rungs() == 2
    assert target.run(GRAY).work.counts.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert target.signals(GRAY).work.counts.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert target.exits(target.run(GRAY).work).tolist() == [2, 0]
    assert target.at_rung(1).run(GRAY).work.counts.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert len(needle().upto(3).units) == 3  # a deadline leaves none after it


def test_rules_are_given_by_name_or_as_they_are() -> None:
    target = needle()
    other = target.with_rule("confidence:0.5")
    assert target.with_rule(other.rule).rule == other.rule != target.rule


def test_types_say_the_same() -> None:
    """Checked by mypy."""
    exits, steps, text, boxes = needle(), PeakTarget(), ToyText(), LampTarget()
    capped: tuple[Capped, ...] = (exits, steps, text, boxes)
    featured: tuple[Featured, ...] = (exits, text, boxes)
    differentiable: tuple[Differentiable, ...] = (exits, steps, text, boxes)
    probed: tuple[Probed, ...] = (exits, steps, text, boxes)
    scored: Scored = text
    assert all(each.rungs() > 1 for each in capped)
    assert len({*capped, *featured, *differentiable, *probed, scored}) == 4
    assert not steps.offers("features")
    assert not exits.offers("score")


@pytest.mark.parametrize("make", [needle, LampTarget])
def test_features_are_differentiable(make: Callable[[], EarlyExitTarget | DetectorTarget]) -> None:
    target = make()
    inputs = torch.rand(3, *target.space.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    features = target.features(inputs)
    assert len(features) == 3
    (gradient,) = torch.autograd.grad(features.sum(), inputs)
    assert gradient.any()
