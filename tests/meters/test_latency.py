from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import MeterError, UsageError
from torpor.meters import LatencyPair, RecordedClock, WallClock, latency, paired_latency


def nothing() -> None:
    """Do nothing."""


class SimulatedMachine:
    """A clock that only calls move, and a diary of who ran."""

    def __init__(self) -> None:
        self.time = 0.0
        self.diary: list[str] = []

    def now(self) -> float:
        return self.time

    def call(self, name: str, durations: list[float]) -> Callable[[], object]:
        """Return a call that takes the given seconds in turn, over and over."""
        runs = iter(durations * 100)

        def run() -> None:
            self.diary.append(name)
            self.time += next(runs)

        return run


def steady(clean: list[float], attacked: list[float], repeats: int = 5) -> LatencyPair:
    machine = SimulatedMachine()
    pairs = [(machine.call("c", [c]), machine.call("a", [a])) for c, a in zip(clean, attacked, strict=True)]
    return paired_latency(pairs, machine, repeats=repeats)


def test_pairs_alternate_who_goes_first() -> None:
    machine = SimulatedMachine()
    pairs = [(machine.call(f"c{i}", [1.0]), machine.call(f"a{i}", [1.0])) for i in range(2)]
    paired_latency(pairs, machine, warmup=3, repeats=3)
    warm, timed = machine.diary[:6], machine.diary[6:]
    assert warm == ["c0", "a0", "c1", "a1", "c0", "a0"]
    assert timed == ["c0", "a0", "a0", "c0", "c0", "a0", "a1", "c1", "c1", "a1", "a1", "c1"]


def test_medians_ratio_and_interval_by_hand() -> None:
    clean, attacked = [1.0, 2.0, 4.0], [3.0, 4.0, 40.0]
    pair = steady(clean, attacked)
    assert pair.clean_s_p50 == pytest.approx(2.0)
    assert pair.attacked_s_p50 == pytest.approx(4.0)
    assert pair.slowdown == pytest.approx(3.0)  # of 3, 2 and 10; not the ratio of medians, 2
    assert pair.ci95 is not None
    assert pair.ci95[0] <= pair.attacked_s_p50 <= pair.ci95[1]
    assert steady([1.0], [3.0]).ci95 is None
    assert (pair.valid, pair.reason, pair.n, pair.repeats) == (True, None, 3, 5)
    assert steady(clean, attacked) == pair


def test_one_slow_repeat_changes_nothing() -> None:
    machine = SimulatedMachine()
    hiccup = machine.call("c", [1.0, 1.0, 50.0, 1.0, 1.0])
    pair = paired_latency([(hiccup, machine.call("a", [2.0]))], machine, warmup=0)
    assert (pair.clean_s_p50, pair.slowdown, pair.valid) == (1.0, 2.0, True)


def test_a_restless_attacked_side_is_invalid_and_says_so() -> None:
    machine = SimulatedMachine()
    attacked = machine.call("a", [1.0, 1.5, 2.0, 2.5, 3.0])
    pair = paired_latency([(machine.call("c", [1.0]), attacked)], machine, warmup=0)
    assert not pair.valid
    assert pair.reason is not None
    assert "spread by 50%" in pair.reason


def test_a_clean_call_that_depends_on_its_place_is_invalid() -> None:
    machine = SimulatedMachine()
    clean = machine.call("c", [1.00, 1.08])  # goes first, second, first, ...
    pair = paired_latency([(clean, machine.call("a", [2.0]))], machine, warmup=0, repeats=6)
    assert not pair.valid
    assert pair.reason is not None
    assert "differ by 7%" in pair.reason


def test_too_few_repeats_are_invalid() -> None:
    pair = steady([1.0], [2.0], repeats=2)
    assert not pair.valid
    assert pair.reason == "expected at least 3 repeats to judge the spread, got 2"


def test_a_call_without_duration_is_an_error() -> None:
    with pytest.raises(MeterError, match="take time"):
        paired_latency([(nothing, nothing)], RecordedClock([0.0] * 20), warmup=0)


@pytest.mark.parametrize(("warmup", "repeats", "calls"), [(0, 5, 0), (0, 0, 1), (-1, 5, 1)])
def test_nothing_to_time_is_a_usage_error(warmup: int, repeats: int, calls: int) -> None:
    clock = RecordedClock([])
    with pytest.raises(UsageError, match="expected at least 1 call"):
        paired_latency([(nothing, nothing)] * calls, clock, warmup=warmup, repeats=repeats)
    with pytest.raises(UsageError, match="expected at least 1 call"):
        latency([nothing] * calls, clock, warmup=warmup, repeats=repeats)


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=6), st.floats(1, 50))
def test_a_steady_machine_shows_the_true_slowdown(clean: list[float], factor: float) -> None:
    pair = steady(clean, [factor * seconds for seconds in clean])
    assert pair.slowdown == pytest.approx(factor, rel=1e-6)
    assert pair.clean_s_p50 == pytest.approx(float(np.median(clean)), rel=1e-6)
    assert pair.valid


def test_one_sided_latency_by_hand() -> None:
    durations = [1.0, 9.0, 1.0, 1.0, 1.0] + [3.0] * 5 + [5.0] * 5
    clock = RecordedClock.of_durations(durations)
    result = latency([nothing] * 3, clock, warmup=7)
    assert clock.left == 0  # warm-up does not read the clock
    assert (result.s_p50, result.valid, result.reason, result.n) == (3.0, True, None, 3)
    assert result.ci95 is not None
    assert 1.0 <= result.ci95[0] <= result.ci95[1] <= 5.0


def test_one_sided_latency_notices_a_drifting_machine() -> None:
    result = latency([nothing], RecordedClock.of_durations([1.0, 1.3, 1.6, 1.9, 2.2]), warmup=0)
    assert not result.valid
    assert result.reason is not None
    assert "spread" in result.reason


def test_warmup_cycles_through_the_calls() -> None:
    machine = SimulatedMachine()
    latency([machine.call("x", [1.0]), machine.call("y", [1.0])], machine, warmup=3, repeats=1)
    assert machine.diary == ["x", "y", "x", "x", "y"]


class CrowdedMachine(WallClock):
    """A clock on which every call takes a second, of which its threads wait for a given part."""

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait, self.time = wait, 0.0

    def run(self) -> None:
        self.time += 1.0

    def now(self) -> float:
        return self.time

    def waited(self) -> float | None:
        return self.wait * self.time


@pytest.mark.parametrize(("wait", "valid"), [(0.05, True), (0.5, False)])
def test_steady_times_on_a_crowded_machine_are_not_believed(wait: float, valid: bool) -> None:
    machine = CrowdedMachine(wait)
    pair = paired_latency([(machine.run, machine.run)], machine)
    one = latency([machine.run], machine)
    assert (pair.valid, one.valid) == (valid, valid)
    if not valid:
        assert pair.reason == one.reason
        assert pair.reason is not None
        assert "add up to 50% of a typical call" in pair.reason


def test_waits_of_the_attacked_side_alone_are_enough_to_doubt() -> None:
    machine = CrowdedMachine(0.0)
    waits = 0.0

    def attacked() -> None:
        nonlocal waits
        machine.time, waits = machine.time + 3.0, waits + 1.0

    machine.waited = lambda: waits  # type: ignore[method-assign]
    pair = paired_latency([(machine.run, attacked)], machine)
    assert pair.reason is not None
    assert "add up to 33% of a typical call" in pair.reason
