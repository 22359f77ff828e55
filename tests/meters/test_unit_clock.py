"""Seconds per unit as an audit calibrates them, against a clock whose readings are known."""

from __future__ import annotations

import pytest
import torch

from torpor.meters import RecordedClock
from torpor.meters import calibration as module
from torpor.meters.calibration import REPEATS, unit_clock
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget

IMAGE = torch.full((1, 1, 4, 4), 0.5)


def recorded(target: PeakTarget, *, encoder: float, step: float, overhead: float = 1.0) -> RecordedClock:
    """Return the clock on which units take these seconds, and the deployed run ``overhead`` times as much."""
    works = [work for work, _ in target.probes(IMAGE)] + [target.run(IMAGE).work]
    times = [encoder * row[0] + step * row[1] for row in (work.counts[0].tolist() for work in works)]
    times[-1] *= overhead
    turns = [times if repeat % 2 == 0 else times[::-1] for repeat in range(REPEATS)]
    return RecordedClock.of_durations([seconds for turn in turns for seconds in turn])


def test_a_decoder_has_seconds_per_step_and_an_error() -> None:
    target = PeakTarget()
    clock = recorded(target, encoder=0.5, step=0.01)
    found = unit_clock(target, IMAGE, clock)
    assert found["seconds_per_unit"] == pytest.approx({"encoder": 0.5, "decoder_step": 0.01})
    assert found["error"] == pytest.approx(0, abs=1e-9)
    assert (found["valid"], found["reason"]) == (True, None)
    assert found["price_list"] == "seconds on cpu, RecordedClock"
    assert clock.left == 0


def test_a_deployed_run_that_takes_longer_makes_them_invalid() -> None:
    target = PeakTarget()
    found = unit_clock(target, IMAGE, recorded(target, encoder=0.5, step=0.01, overhead=1.4))
    assert found["error"] == pytest.approx(0.4)
    assert found["valid"] is False
    assert "by 40%, more than 25%" in found["reason"]


def test_what_takes_too_long_is_not_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_S", 0.0)
    found = unit_clock(PeakTarget(), IMAGE)
    assert found["seconds_per_unit"] is None
    assert "takes longer than 0 s" in found["reason"]


class Silent(PeakTarget):
    """A target that says nothing of its units' time."""

    probes = Target.probes


def test_a_target_without_probes_has_none_and_says_so() -> None:
    found = unit_clock(Silent(), IMAGE)
    assert found["seconds_per_unit"] is found["valid"] is found["error"] is None
    assert "write its probes()" in found["reason"]
