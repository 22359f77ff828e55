"""A price on each object that is handed on: cost is the target's own work and what follows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.measures import COST
from torpor.core.units import Unit
from torpor.core.work import PriceList
from torpor.defenses.registry import load_defense
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.family import HANDED_ON
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget, lit
from torpor.targets.detector.track_work import ByteTrack
from torpor.targets.detector.tracking import TrackerTarget
from torpor.targets.early_exit.toys import needle
from torpor.targets.resolve import with_downstream

FRAMES = 4


def followed() -> TrackerTarget:
    return TrackerTarget(LampTarget(), ByteTrack(activation=0.2, high=0.2), frames=FRAMES)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_each_kept_box_costs_its_price(count: int) -> None:
    bare, image = LampTarget(), lit(count)[0]
    priced = bare.with_downstream(1000.5)
    own, whole = (target.prices.cost(target.run(image).work).item() for target in (bare, priced))
    assert whole == own + 1000.5 * count
    signals = priced.signals(image)
    assert signals.work.counts.equal(priced.run(image).work.counts)
    assert bare.run(image).work.counts.shape[1] + 1 == signals.work.counts.shape[1]


def test_the_bound_is_the_most_that_may_be_kept() -> None:
    target = LampTarget(nms=NMS(max_det=3)).with_downstream(7.0)
    assert target.max_work(lit(1)[0]).counts.tolist() == [[1, 24, 276, 3]]
    assert target.run(lit(9)[0]).work.counts[0, -1] == 3
    fewer = target.with_nms(NMS(max_det=2))
    assert fewer.run(lit(9)[0]).work.counts[0, -1] == 2
    assert all(work.counts.shape[1] == 4 for work, _ in target.probes(lit(1)[0]))


def test_a_tracker_hands_on_what_a_track_follows() -> None:
    bare = followed()
    priced = bare.with_downstream(1e6)
    video = lit(3)[0].expand(1, FRAMES, -1, -1, -1)
    outcome = priced.run(video)
    on = sum(len(frame.followed()) for frame in outcome.outputs[0])
    assert 0 < on < 3 * FRAMES  # nothing is followed in the first frame
    assert outcome.work.counts[0, -1] == on
    assert priced.prices.cost(outcome.work) == bare.prices.cost(bare.run(video).work) + 1e6 * on
    assert (outcome.work.counts <= priced.max_work(video).counts).all()
    assert priced.detector.prices.per_unit[-1] == 1e6  # attacks on frames heed it
    assert priced.signals(video).work.counts.equal(bare.signals(video).work.counts)
    assert all(work.counts.shape[1] == len(priced.units) for work, _ in priced.probes(video))


def test_defended_targets_have_the_price_of_the_target_inside() -> None:
    target = load_defense("median").defend(LampTarget().with_downstream(50.0))
    assert target.prices.per_unit[3] == 50
    assert target.run(lit(2)[0]).work.counts.shape[1] == 5


def test_another_price_is_another_target() -> None:
    prints = {LampTarget().fingerprint(), *(LampTarget().with_downstream(price).fingerprint() for price in (1.0, 2.0))}
    assert len(prints) == 3
    assert LampTarget().with_downstream(2.0).details()["downstream"] == 2
    assert LampTarget().with_downstream(2).fingerprint() == LampTarget().with_downstream(2.0).fingerprint()


class Tolls(LampTarget):
    """A detector with a currency of its own, which forgets objects."""

    @override
    def price(self, units: Sequence[Unit]) -> PriceList:
        return PriceList("tolls", (1.0,) * len(units))


class OwnTolls(Tolls):
    """The same with a price for objects."""

    @override
    def price(self, units: Sequence[Unit]) -> PriceList:
        known = ((self.downstream or 0.0) if unit.name == "downstream" else 1.0 for unit in units)
        return PriceList("tolls", tuple(known))


def test_what_cannot_be_priced_is_refused() -> None:
    assert OwnTolls().with_downstream(3.0).prices.per_unit == (1, 1, 1, 3)
    with pytest.raises(UsageError, match="price its unit 'downstream' at 3 tolls, got 1"):
        Tolls().with_downstream(3.0)
    for price in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="cost per object greater than 0"):
            LampTarget().with_downstream(price)
    with pytest.raises(UsageError, match="without a price per object, got one with 1"):
        LampTarget().with_downstream(1.0).with_downstream(2.0)
    with pytest.raises(UsageError, match="leave --downstream out"):
        with_downstream(needle(), 1.0)
    with pytest.raises(UsageError, match="hands objects on"):
        with_downstream(ToyText(), 1.0)


def test_headlines_are_objects_until_they_have_a_price() -> None:
    lamps, tracker = LampTarget(), followed()
    assert lamps.family.headlines(lamps) == (HANDED_ON,)
    assert lamps.family.headlines(lamps.with_downstream(1.0)) == (COST,)
    assert [each.item for each in tracker.family.headlines(tracker)] == ["track_alive", "association_pair"]
    assert tracker.family.headlines(tracker.with_downstream(1.0))[0] == COST
    defended = load_defense("median").defend(lamps)
    assert defended.family.headlines(defended) == (HANDED_ON,)
    text = ToyText()
    assert [each.title for each in text.family.headlines(text)][:2] == ["cost", "decoder steps"]
    video = lit(2)[0].expand(1, FRAMES, -1, -1, -1)
    row = tracker.family.profile(tracker, tracker.run(video).work, ())
    assert tracker.family.headlines(tracker)[0].value(row) is not None
    assert torch.equal(video[0, 0], video[0, 1])
