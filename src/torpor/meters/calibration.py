"""Calibration: turn timed probes of a target into seconds per unit on this device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torpor.core.errors import MeterError, UsageError
from torpor.core.prices import PriceList
from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.meters.clock import BUSY_LIMIT, Clock, timed

NULL = 1e-9
"""Singular values below this share of the largest one, and entries below it, count as zero."""


class Probed(Protocol):
    """What can be priced by the clock; every :class:`torpor.targets.base.Target` can."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """What is counted."""

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls that do a known work on the one given input, enough of them to price every unit."""


def calibrate(target: Probed, inputs: Tensor, clock: Clock, *, repeats: int = 5, warmup: int = 3) -> PriceList:
    """Price every unit in seconds per run.

    The target's probes, whose work is known, run in turns, forth and back; each one's time is the median over repeats.
    Prices are the non-negative ones that explain all times with the least squared *relative* error. What every call
    costs beside its units is part of the price of the units that every call runs.

    The name of the list says on which device and by which clock, and ``busy machine`` if the typical probe waited for a
    processor for more than ``BUSY_LIMIT`` of its time: such prices are too high.

    Args:
        target: what to price, on the device that ``clock`` waits for.
        inputs: a few typical inputs ``[B, ...]``; probes run on one at a time.
        clock: where to read the time.
        repeats: timed runs of each probe.
        warmup: untimed runs of each probe.

    Raises:
        UsageError: without inputs or repeats.
        MeterError: if the probes' work does not single out every unit, or a probe takes no time.
    """
    if len(inputs) == 0 or repeats < 1 or warmup < 0:
        raise UsageError(
            f"expected at least 1 input, 1 repeat and 0 warm-up runs, got {len(inputs)}, {repeats} and {warmup}"
        )
    probes = [probe for row in range(len(inputs)) for probe in target.probes(inputs[row : row + 1])]
    width = len(target.units)
    counts = np.array([work.counts[0].tolist() for work, _ in probes], dtype=np.float64).reshape(len(probes), width)
    hidden = _not_identifiable(counts)
    if len(hidden):
        names = ", ".join(target.units[unit].name for unit in hidden)
        raise MeterError(f"expected probes that single out every unit, got none for {names}; vary their counts alone")
    times, wait = _times([call for _, call in probes], clock, repeats, warmup)
    name = f"seconds on {target.device}, {type(clock).__name__}{', busy machine' if wait > BUSY_LIMIT else ''}"
    return PriceList(name, tuple(_solve(counts, times).tolist()))


def _not_identifiable(counts: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the units whose price some other prices could replace: those in the null space of the counts."""
    units = counts.shape[1]
    if len(counts) == 0:
        return np.arange(units)
    _, singular, rows = np.linalg.svd(counts / _scale(counts))
    rank = int((singular > NULL * singular[0]).sum()) if singular[0] > 0 else 0
    return np.flatnonzero(np.abs(rows[rank:]).max(axis=0, initial=0.0) > NULL)


def _scale(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each unit's largest count, so that a unit counted in millions weighs no more than one counted once."""
    most: NDArray[np.float64] = counts.max(axis=0)
    return np.maximum(most, 1.0)


def _times(
    calls: Sequence[Callable[[], object]], clock: Clock, repeats: int, warmup: int
) -> tuple[NDArray[np.float64], float]:
    """Return the median seconds of each call, and the typical wait for a processor as a share."""
    for _ in range(warmup):
        for call in calls:
            call()
    seconds, waits = np.empty((2, len(calls), repeats))
    order = range(len(calls))
    for repeat in range(repeats):
        for probe in order if repeat % 2 == 0 else reversed(order):
            seconds[probe, repeat], waits[probe, repeat] = timed(calls[probe], clock)
    medians: NDArray[np.float64] = np.median(seconds, axis=1)
    if not medians.min() > 0:
        raise MeterError(f"expected probes that take time, got {medians.min():g} s; use a finer clock")
    return medians, float(np.median(waits))


def _solve(counts: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the non-negative prices with the least squared relative error."""
    from scipy.optimize import nnls

    scale = _scale(counts)
    prices: NDArray[np.float64] = nnls(counts / scale / times[:, None], np.ones(len(times)))[0]
    return prices / scale
