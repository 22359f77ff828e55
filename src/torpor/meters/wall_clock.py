"""Latency: wall-clock per call, with a verdict on whether the clock was quiet enough to believe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torpor.core.errors import MeterError, UsageError
from torpor.meters.clock import BUSY_LIMIT, Clock, timed
from torpor.metrics.tails import interval95

SPREAD_LIMIT = 0.1
"""Largest interquartile range of one call's repeats, as a share of their median, that still counts as quiet."""
NOISE_LIMIT = 0.05
"""Largest difference between two timings of the same calls, as a share, that still counts as no difference."""
MIN_REPEATS = 3
"""Fewest repeats from which spread and noise can be told."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Latency:
    """Seconds per call.

    Attributes:
        s_p50: median over samples of each sample's median over repeats, seconds.
        ci95: 95 % bootstrap interval of ``s_p50`` over samples, seconds.
        valid: whether the machine was free and the repeats agreed; says nothing about how few samples there were.
        reason: why not valid, in words.
        n: number of samples.
    """

    s_p50: float
    ci95: tuple[float, float] | None
    valid: bool
    reason: str | None
    n: int


@dataclass(frozen=True)
class LatencyPair:
    """Seconds per clean and per attacked call, measured in turns.

    Attributes:
        clean_s_p50: median over clean samples of each sample's median over repeats, seconds.
        attacked_s_p50: the same for the attacked samples.
        ci95: 95 % bootstrap interval of ``attacked_s_p50`` over samples, seconds.
        slowdown: median over samples of attacked over clean seconds of the same sample.
        valid: whether the machine was free and the repeats agreed; says nothing about how few samples there were.
        reason: why not valid, in words.
        n: number of pairs.
        repeats: timed calls per side of a pair.
    """

    clean_s_p50: float
    attacked_s_p50: float
    ci95: tuple[float, float] | None
    slowdown: float
    valid: bool
    reason: str | None
    n: int
    repeats: int


def latency(calls: Sequence[Call], clock: Clock, *, warmup: int = 3, repeats: int = 5) -> Latency:
    """Time each call ``repeats`` times, after ``warmup`` untimed rounds that cycle through the calls.

    Valid if the typical spread of a call's repeats is at most ``SPREAD_LIMIT``, if its even repeats differ from its odd
    ones by at most ``NOISE_LIMIT``, and if the typical call waited for a processor for at most ``BUSY_LIMIT``.

    Raises:
        UsageError: without calls or repeats.
        MeterError: if a call takes no time on this clock.

    >>> from torpor.meters.clock import RecordedClock
    >>> latency([lambda: None], RecordedClock.of_durations([2.0] * 4), warmup=0, repeats=4).s_p50
    2.0
    """
    _check(len(calls), warmup, repeats)
    for turn in range(warmup):
        calls[turn % len(calls)]()
    times, waits = np.moveaxis(np.array([[timed(call, clock) for _ in range(repeats)] for call in calls]), -1, 0)
    medians = _medians(times)
    noise = noise_of(times, np.broadcast_to(np.arange(repeats) % 2 == 0, times.shape))
    reason = doubt(times[None], waits[None], noise)
    return Latency(float(np.median(medians)), interval95(medians, np.median), reason is None, reason, len(calls))


def paired_latency(
    call_pairs: Sequence[tuple[Call, Call]], clock: Clock, *, warmup: int = 3, repeats: int = 5
) -> LatencyPair:
    """Time clean and attacked calls in turns, so that drift of the machine meets both alike.

    Every repeat of a pair times both calls; which one goes first alternates. ``warmup`` untimed rounds come first and
    cycle through the pairs. Valid if, on both sides, the typical spread of a call's repeats is at most ``SPREAD_LIMIT``
    and the typical call waited for a processor for at most ``BUSY_LIMIT``, and if the clean calls that went first and
    those that went second differ by at most ``NOISE_LIMIT``.

    Args:
        call_pairs: ``(clean, attacked)`` for each sample.
        clock: where to read the time.
        warmup: untimed rounds.
        repeats: timed calls per side of a pair.

    Raises:
        UsageError: without pairs or repeats.
        MeterError: if a call takes no time on this clock.

    >>> from torpor.meters.clock import RecordedClock
    >>> clock = RecordedClock.of_durations([1.0, 3.0, 3.0, 1.0, 1.0, 3.0, 3.0, 1.0])
    >>> pair = paired_latency([(lambda: None, lambda: None)], clock, warmup=0, repeats=4)
    >>> pair.slowdown, pair.valid
    (3.0, True)
    """
    _check(len(call_pairs), warmup, repeats)
    for turn in range(warmup):
        for call in call_pairs[turn % len(call_pairs)]:
            call()
    times, waits = np.empty((2, 2, len(call_pairs), repeats))
    clean_first = (np.arange(len(call_pairs))[:, None] + np.arange(repeats)) % 2 == 0
    for row, calls in enumerate(call_pairs):
        for repeat in range(repeats):
            for side in (0, 1) if clean_first[row, repeat] else (1, 0):
                times[side, row, repeat], waits[side, row, repeat] = timed(calls[side], clock)
    clean, attacked = _medians(times[0]), _medians(times[1])
    reason = doubt(times, waits, noise_of(times[0], clean_first))
    return LatencyPair(
        clean_s_p50=float(np.median(clean)),
        attacked_s_p50=float(np.median(attacked)),
        ci95=interval95(attacked, np.median),
        slowdown=float(np.median(attacked / clean)),
        valid=reason is None,
        reason=reason,
        n=len(call_pairs),
        repeats=repeats,
    )


def _check(calls: int, warmup: int, repeats: int) -> None:
    if calls == 0 or repeats < 1 or warmup < 0:
        raise UsageError(
            f"expected at least 1 call, 1 repeat and 0 warm-up rounds, got {calls}, {repeats} and {warmup}"
        )


def _medians(times: NDArray[np.float64]) -> NDArray[np.float64]:
    medians: NDArray[np.float64] = np.median(times, axis=1)
    if not medians.min() > 0:
        raise MeterError(
            f"expected calls that take time, got {medians.min():g} s; use a finer clock or time several runs per call"
        )
    return medians


def noise_of(times: NDArray[np.float64], ones: NDArray[np.bool_]) -> float:
    """Return how much two halves of the same repeats differ: abs(median ratio - 1), NaN if a half is empty."""
    halves = [[row[mask] for row, mask in zip(times, masks, strict=True)] for masks in (ones, ~ones)]
    ratios = [np.median(a) / np.median(b) for a, b in zip(*halves, strict=True) if len(a) and len(b)]
    return abs(float(np.median(ratios)) - 1) if ratios else float("nan")


def doubt(times: NDArray[np.float64], waits: NDArray[np.float64], noise: float) -> str | None:
    """Return why times ``[side, sample, repeat]`` are not to be believed, or None."""
    repeats = times.shape[-1]
    if repeats < MIN_REPEATS:
        return f"expected at least {MIN_REPEATS} repeats to judge the spread, got {repeats}"
    busy = max(float(np.median(side)) for side in waits)
    if not busy <= BUSY_LIMIT:
        return f"waits for a processor add up to {busy:.0%} of a typical call; free the machine or use fewer threads"
    spread = max(_spread(side) for side in times)
    if not spread <= SPREAD_LIMIT:
        return f"repeats of the same call spread by {spread:.0%} of their median, more than {SPREAD_LIMIT:.0%}"
    if not noise <= NOISE_LIMIT:
        return f"two timings of the same calls differ by {noise:.0%}, more than {NOISE_LIMIT:.0%}"
    return None


def _spread(times: NDArray[np.float64]) -> float:
    """Return the interquartile range over repeats as a share of their median, median over samples."""
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75], axis=1)
    return float(np.median((high - low) / middle))
