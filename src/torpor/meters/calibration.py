"""Calibration: turn timed probes of a target into seconds per unit on this device, in an audit, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.errors import MeterError, TorporError, UsageError
from torpor.core.units import Unit
from torpor.core.work import PriceList, Work
from torpor.meters.clock import BUSY_LIMIT, Clock, WallClock, timed
from torpor.meters.wall_clock import MIN_REPEATS, doubt, noise_of

NULL = 1e-9
"""Singular values below this share of the largest one, and entries below it, count as zero."""
ERROR_LIMIT = 0.25
"""Largest error of prices that are still to be believed."""

Probe = tuple[Work, Callable[[], object]]
"""A call on one input, and the work that it does."""

REPEATS = 5
FEWER_S, MOST_S = 2.0, 30.0
"""What calibration may take before it repeats less, and in all, seconds: probes of large models run until the cap."""


@dataclass(frozen=True)
class Calibration:
    """Seconds per unit, and whether to believe them.

    Attributes:
        prices: of one run of each unit, seconds.
        error: how far a typical run of a timed call is from what its work costs by these prices, as a share of the
            latter; of the call with the largest such error.
        reason: why not valid, in words; None if the clock was quiet and the error is at most ``ERROR_LIMIT``.
    """

    prices: PriceList
    error: float
    reason: str | None

    @property
    def valid(self) -> bool:
        """Whether the prices are to be believed."""
        return self.reason is None


class Calibratable(Protocol):
    """What can be priced by the clock; every :class:`torpor.targets.base.Target` can."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """What is counted."""

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls that do a known work on the one given input, enough of them to price every unit."""


def calibrate(target: Calibratable, inputs: Tensor, clock: Clock, *, repeats: int = 5, warmup: int = 3) -> PriceList:
    """Price every unit in seconds per run: the prices of :func:`calibration`, whether they are valid or not."""
    return calibration(target, inputs, clock, repeats=repeats, warmup=warmup).prices


def calibration(
    target: Calibratable,
    inputs: Tensor,
    clock: Clock,
    *,
    check: Sequence[Probe] = (),
    repeats: int = 5,
    warmup: int = 3,
) -> Calibration:
    """Price every unit in seconds per run, and say how far these prices are from the times.

    The target's probes, whose work is known, run in turns, forth and back; each one's time is the median over repeats.
    Prices are the non-negative ones that explain all times with the least squared *relative* error. What every call
    costs beside its units is part of the price of the units that every call runs.

    Valid if the clock was as quiet as :func:`torpor.meters.latency` asks of it, and if the prices explain the time of
    every call, those of ``check`` included. The name of the list says on which device and by which clock, and ``busy
    machine`` if the typical probe waited for a processor for more than ``BUSY_LIMIT`` of its time: such prices are too
    high.

    Args:
        target: what to price, on the device that ``clock`` waits for.
        inputs: a few typical inputs ``[B, ...]``; probes run on one at a time.
        clock: where to read the time.
        check: calls that are timed with the probes, but that prices are not fitted to: as many probes as units are
            explained by some prices whatever they take.
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
    fitted, width = len(probes), len(target.units)
    probes += check
    counts = np.array([work.counts[0].tolist() for work, _ in probes], dtype=np.float64).reshape(len(probes), width)
    hidden = _not_identifiable(counts[:fitted])
    if len(hidden):
        names = ", ".join(target.units[unit].name for unit in hidden)
        raise MeterError(f"expected probes that single out every unit, got none for {names}; vary their counts alone")
    seconds, waits = _times([call for _, call in probes], clock, repeats, warmup)
    wait = float(np.median(waits))
    name = f"seconds on {target.device}, {type(clock).__name__}{', busy machine' if wait > BUSY_LIMIT else ''}"
    per_unit = _solve(counts[:fitted], np.median(seconds[:fitted], axis=1))
    error = _error(counts @ per_unit, seconds)
    noise = noise_of(seconds, np.broadcast_to(np.arange(repeats) % 2 == 0, seconds.shape))
    reason = doubt(seconds[None], waits[None], noise)
    if reason is None and not error <= ERROR_LIMIT:
        reason = f"prices miss the time of a call by {error:.0%}, more than {ERROR_LIMIT:.0%}"
    return Calibration(PriceList(name, tuple(per_unit.tolist())), error, reason)


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
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the seconds of each run of each call ``[C, R]``, and the wait for a processor as a share of each."""
    for _ in range(warmup):
        for call in calls:
            call()
    seconds, waits = np.empty((2, len(calls), repeats))
    order = range(len(calls))
    for repeat in range(repeats):
        for probe in order if repeat % 2 == 0 else reversed(order):
            seconds[probe, repeat], waits[probe, repeat] = timed(calls[probe], clock)
    if not (least := np.median(seconds, axis=1).min()) > 0:
        raise MeterError(f"expected probes that take time, got {least:g} s; use a finer clock")
    return seconds, waits


def _error(explained: NDArray[np.float64], seconds: NDArray[np.float64]) -> float:
    """Return the largest, over calls, of the median, over runs, of the relative difference from what is explained."""
    if not explained.min() > 0:
        return float("inf")
    return float(np.median(np.abs(seconds / explained[:, None] - 1), axis=1).max())


def _solve(counts: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the non-negative prices with the least squared relative error."""
    from scipy.optimize import nnls

    scale = _scale(counts)
    prices: NDArray[np.float64] = nnls(counts / scale / times[:, None], np.ones(len(times)))[0]
    return prices / scale


def unit_clock(
    target: Any,  # noqa: ANN401 - any target; families are below their base class
    inputs: Samples,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Price every unit in seconds; None, and a reason, where the target or the time does not allow it.

    The clean input, run as deployed, is timed beside the probes to tell how far the prices are from what they are for.

    Args:
        target: without any defense.
        inputs: one clean input.
        clock: where to read the time; that of the target's device if None.

    Returns:
        ``seconds_per_unit`` by name, ``price_list`` (on which device, by which clock), ``valid``, ``error`` as a share,
        and ``reason``: why there are no valid ones, or None.
    """
    try:
        took = _once(target, inputs)
        if took * REPEATS > MOST_S:
            raise MeterError(
                f"timing the units takes longer than {MOST_S:.0f} s; calibrate with torpor measure --seconds and pass "
                "a price file"
            )
        check = [(target.run(inputs).work, lambda: target.run(inputs))]
        repeats = REPEATS if took * REPEATS <= FEWER_S else MIN_REPEATS
        found = calibration(target, inputs, clock or WallClock(target.device), check=check, repeats=repeats, warmup=0)
    except TorporError as error:
        unknown = dict.fromkeys(("seconds_per_unit", "price_list", "valid", "error"))
        return unknown | {"reason": str(error)}
    names = (unit.name for unit in target.units)
    return {
        "seconds_per_unit": dict(zip(names, found.prices.per_unit, strict=True)),
        "price_list": found.prices.name,
        "valid": found.valid,
        "error": found.error,
        "reason": found.reason,
    }


def _once(target: Any, inputs: Samples) -> float:  # noqa: ANN401
    """Warm up: return the seconds that running each probe once takes; of the first of them, where that is too many."""
    clock = WallClock(target.device)
    start = clock.now()
    for _, call in target.probes(inputs):
        call()
        if (clock.now() - start) * REPEATS > MOST_S:
            break
    return clock.now() - start
