"""How many threads a computation gains from, measured on itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from torpor.core.errors import UsageError

WALL = 0.8
"""More threads are worth it if a call takes at most this share of the time that it took with fewer,"""
PROCESSOR = 1.25
"""and at most this many times the processor time of one thread: threads that wait for work may spin."""
LONG_S, ENOUGH_S = 1.0, 0.1
"""Seconds of measuring after which one turn is enough, and after which a few are."""
FEWEST_REPEATS, MOST_REPEATS = 5, 30
"""How many turns are a few, and how many are enough however short a call is."""

MOST = 1024
"""Threads that can be asked for."""


class Timer(Protocol):
    """Measures one call."""

    def __call__(self, call: Callable[[], object]) -> tuple[float, float]:
        """Return the seconds that a call takes, and the processor seconds of all its threads."""


@dataclass(frozen=True)
class Threads:
    """How many threads are used.

    Attributes:
        used: their number.
        most: that could have been used.
        why: in words.
        asked: whether somebody asked for this many.

    >>> print(Threads(1, 2, "measured"))
    1 of 2 (measured)
    """

    used: int
    most: int
    why: str
    asked: bool = False

    def __str__(self) -> str:
        return f"{self.used} of {self.most} ({self.why})"


def check_threads(asked: int) -> int:
    """Return a number of threads that was asked for.

    Raises:
        UsageError: unless it is from 1 to :data:`MOST`.
    """
    if not 1 <= asked <= MOST:
        raise UsageError(f"expected from 1 to {MOST:,} threads, got {asked}")
    return asked


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that ``call`` takes, and the processor seconds of all threads of this process.

    >>> seconds, processor = measured(lambda: None)
    >>> seconds >= 0 and processor >= 0
    True
    """
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def gainful_threads(call: Callable[[], object], most: int, stopwatch: Timer = measured) -> int:
    """Return how many threads shorten ``call`` without burning processor time, from 1 to ``most``.

    One thread is compared with two, two with four, and so on, as long as that is worth it; where other processes keep
    the processors busy it is not. Leaves the number of threads as it was.

    Args:
        call: some work of the kind that is to follow.
        most: threads at most.
        stopwatch: measures one call.

    >>> gainful_threads(lambda: None, most=1)
    1
    """
    chosen = 1
    with using(Threads(1, most, "to begin with")):
        while chosen < most:
            more = min(2 * chosen, most)
            wall, processor = _ratios(call, chosen, more, stopwatch)
            if not (wall <= WALL and processor <= PROCESSOR):
                break
            chosen = more
    return chosen


def _ratios(call: Callable[[], object], fewer: int, more: int, stopwatch: Timer) -> tuple[float, float]:
    """Return what ``more`` threads take of the seconds of ``fewer``, and of the processor seconds of one: medians."""
    ratios: list[tuple[float, float]] = []
    spent = 0.0
    for repeat in range(MOST_REPEATS):
        taken = {}
        for count in sorted({1, fewer, more}):
            torch.set_num_threads(count)
            taken[count] = stopwatch(call)
            spent += taken[count][0]
        # the first turn starts threads and fills caches, which matters to short calls only
        if repeat == 0 and spent < LONG_S:
            continue
        ratios.append((taken[more][0] / taken[fewer][0], taken[more][1] / taken[1][1]))
        if spent >= LONG_S or (spent >= ENOUGH_S and len(ratios) >= FEWEST_REPEATS):
            break
    return statistics.median(wall for wall, _ in ratios), statistics.median(processor for _, processor in ratios)


@contextmanager
def using(threads: Threads) -> Iterator[Threads]:
    """Let torch use this number of threads inside the block.

    >>> with using(Threads(1, 2, "for the example")):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads.used)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)
