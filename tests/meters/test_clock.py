from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch

from torpor.core.errors import MeterError, UsageError
from torpor.meters import RecordedClock, WallClock, elapsed, timed


def test_recorded_clock_replays_its_readings_in_order() -> None:
    clock = RecordedClock([1.0, 4.0, 4.0])
    assert [clock.now() for _ in range(3)] == [1.0, 4.0, 4.0]
    assert clock.left == 0


def test_recorded_clock_refuses_to_invent_readings() -> None:
    clock = RecordedClock([1.0])
    clock.now()
    with pytest.raises(MeterError, match="at most 1 readings"):
        clock.now()


def test_recorded_clock_refuses_to_run_backward() -> None:
    with pytest.raises(UsageError, match="backward"):
        RecordedClock([2.0, 1.0])


def test_durations_become_consecutive_calls() -> None:
    clock = RecordedClock.of_durations([0.5, 0.25])
    assert [elapsed(lambda: None, clock) for _ in range(2)] == [0.5, 0.25]
    assert clock.left == 0


def test_wall_clock_sees_a_pause() -> None:
    assert 0.01 <= elapsed(lambda: time.sleep(0.01), WallClock()) < 5


def test_wall_clock_waits_for_the_device_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def read() -> float:
        events.append("read")
        return 0.0

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append(f"wait {device}"))
    monkeypatch.setattr(time, "perf_counter", read)
    WallClock("cuda:1").now()
    WallClock("cpu").now()
    assert events == ["wait cuda:1", "read", "read"]


class ScriptedClock(WallClock):
    """A wall clock whose seconds and waits are given."""

    def __init__(self, readings: list[float], waits: list[float | None]) -> None:
        super().__init__()
        self.readings, self.waits = iter(readings), iter(waits)

    def now(self) -> float:
        return next(self.readings)

    def waited(self) -> float | None:
        return next(self.waits)


@pytest.mark.parametrize(
    ("waits", "share"),
    [([1.0, 2.0], 0.25), ([1.0, 1.0], 0.0), ([None, None], 0.0), ([1.0, None], 0.0), ([3.0, 1.0], 0.0)],
)
def test_waits_are_a_share_of_the_call(waits: list[float | None], share: float) -> None:
    assert timed(lambda: None, ScriptedClock([1.0, 5.0], waits)) == (4.0, share)


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.fixture
def one_processor() -> Iterator[None]:
    """Pin this process, and with it the programs that it starts, to one processor."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long threads wait")
def test_sharing_a_processor_shows_as_waiting(one_processor: None) -> None:
    if WallClock().waited() is None:
        pytest.skip("this kernel keeps no scheduler statistics")
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        _, share = timed(lambda: spin(0.5), WallClock())
    finally:
        rival.kill()
        rival.wait()
    assert share > 0.1
