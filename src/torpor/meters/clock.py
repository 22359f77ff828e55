"""Clocks: where meters read the time, so that tests can replay a recorded one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch

from torpor.core.errors import MeterError, UsageError

BUSY_LIMIT = 0.1
"""Largest wait for a processor, as a share of a call's time, on a machine that still counts as free."""


class Clock(Protocol):
    """Anything that tells seconds."""

    def now(self) -> float:
        """Return seconds since some fixed moment."""


class WallClock:
    """Real time, read once everything that was queued on the device is done.

    Args:
        device: where the timed calls run.

    >>> clock = WallClock("cpu")
    >>> clock.now() <= clock.now()
    True
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    def now(self) -> float:
        """Wait for the device, then return seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def waited(self) -> float | None:
        """Return for how long, in all, this process's live threads stood in line for a processor, seconds.

        None where the system does not tell; Linux does.
        """
        try:
            lines = [path.read_text() for path in Path("/proc/self/task").glob("*/schedstat")]
            return sum(int(line.split()[1]) for line in lines) / 1e9 if lines else None
        except (OSError, ValueError, IndexError):
            return None


class RecordedClock:
    """Replay readings, for tests and for measurements made elsewhere.

    Args:
        readings: seconds, none earlier than the one before.

    Raises:
        UsageError: if the readings run backward.

    >>> clock = RecordedClock([1.0, 1.5])
    >>> elapsed(lambda: None, clock)
    0.5
    """

    def __init__(self, readings: Iterable[float]) -> None:
        self._readings = tuple(readings)
        self._used = 0
        if any(later < earlier for earlier, later in zip(self._readings, self._readings[1:], strict=False)):
            raise UsageError("expected readings that never run backward, got a decrease; record them in order")

    @classmethod
    def of_durations(cls, durations: Iterable[float]) -> RecordedClock:
        """Build the clock on which consecutive timed calls take the given seconds.

        >>> clock = RecordedClock.of_durations([0.25, 2.0])
        >>> [elapsed(lambda: None, clock) for _ in range(2)]
        [0.25, 2.0]
        """
        readings, at = [], 0.0
        for duration in durations:
            readings += [at, at + duration]
            at += duration
        return cls(readings)

    @property
    def left(self) -> int:
        """Readings not used yet."""
        return len(self._readings) - self._used

    def now(self) -> float:
        """Return the next reading.

        Raises:
            MeterError: if all readings are used up.
        """
        if self.left == 0:
            raise MeterError(f"expected at most {len(self._readings)} readings of the clock, got more; record more")
        self._used += 1
        return self._readings[self._used - 1]


def elapsed(call: Callable[[], object], clock: Clock) -> float:
    """Return the seconds that one call takes.

    >>> elapsed(lambda: None, RecordedClock([3.0, 5.0]))
    2.0
    """
    start = clock.now()
    call()
    return clock.now() - start


def timed(call: Callable[[], object], clock: Clock) -> tuple[float, float]:
    """Return the seconds that one call takes, and its threads' wait for a processor as a share of them.

    On a busy machine every parallel operator waits until the scheduler lets its last thread run. That can multiply all
    times by one factor, which no spread among repeats gives away. Clocks that do not know of waits give a share of 0.

    >>> timed(lambda: None, RecordedClock([3.0, 5.0]))
    (2.0, 0.0)
    """
    witness = clock if isinstance(clock, WallClock) else None
    before = witness.waited() if witness else None
    seconds = elapsed(call, clock)
    after = witness.waited() if witness else None
    if before is None or after is None or not seconds > 0:
        return seconds, 0.0
    return seconds, max(0.0, after - before) / seconds
