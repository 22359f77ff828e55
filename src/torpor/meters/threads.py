"""How many threads a computation gains from, measured on itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

WALL = 0.8
"""More threads are worth it if a call takes at most this share of the time that it took with fewer,"""
PROCESSOR = 1.25
"""and at most this many times the processor time of one thread: threads that wait for work may spin."""
ENOUGH_S, LONG_S, MOST_REPEATS = 0.01, 0.5, 8
"""A setting is measured for so many seconds or so often, but only once if a single call takes long."""


class Stopwatch(Protocol):
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

    >>> print(Threads(1, 2, "measured"))
    1 of 2 (measured)
    """

    used: int
    most: int
    why: str

    def __str__(self) -> str:
        return f"{self.used} of {self.most} ({self.why})"


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that ``call`` takes, and the processor seconds of all threads of this process.

    >>> seconds, processor = measured(lambda: None)
    >>> seconds >= 0 and processor >= 0
    True
    """
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def gainful_threads(call: Callable[[], object], most: int, stopwatch: Stopwatch = measured) -> int:
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
            times = _least(call, sorted({1, chosen, more}), stopwatch)
            (wall, _), (_, single), (less, processor) = times[chosen], times[1], times[more]
            if not (less <= WALL * wall and processor <= PROCESSOR * single):
                break
            chosen = more
    return chosen


def _least(call: Callable[[], object], counts: list[int], stopwatch: Stopwatch) -> dict[int, tuple[float, float]]:
    """Return the least seconds and processor seconds of ``call`` for each number of threads, measured in turns."""
    least = dict.fromkeys(counts, (float("inf"), float("inf")))
    spent = 0.0
    for repeat in range(MOST_REPEATS):
        for count in counts:
            torch.set_num_threads(count)
            wall, processor = stopwatch(call)
            spent += wall
            least[count] = min(least[count][0], wall), min(least[count][1], processor)
        # the first call of a pool that has just changed its size starts threads, which matters to short calls only
        if spent >= len(counts) * (LONG_S if repeat == 0 else ENOUGH_S):
            break
    return least


@contextmanager
def using(threads: Threads) -> Iterator[Threads]:
    """Let torch use so many threads inside the block.

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
