"""Wall-clock of one sample in a batch; wall-clock, energy and memory of kept examples, clean and attacked in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from torpor.audits.plan import Plan
from torpor.audits.run.limits import BACKWARD
from torpor.audits.run.rows import first_of
from torpor.core.batches import Samples
from torpor.data.sets import DataSet
from torpor.meters import WallClock, energy_meter, memory_meter, paired_latency
from torpor.meters.clock import elapsed
from torpor.meters.threads import measured
from torpor.meters.wall_clock import MIN_REPEATS, Call
from torpor.targets.base import Target

REPEATS = 6
WARMUP = 1  # rounds beside the one that says how long the calls take, unless they are long
TIMED_S = 2.0  # what the repeats of one row may take, or they would take longer than the attack
FEWEST = 3  # samples that are timed whatever that takes, with fewer repeats
ENERGY_S = 2.0  # counters tick every 20 to 100 ms, so one call would be all tick or no tick

CALLS = 2 * FEWEST * (MIN_REPEATS + 1)
"""Runs of samples that the timing of a row takes at least."""
HIGHER = 2 * 4
"""Its repetition with a higher cap runs as long as this many of its longest samples: clean and attacked, four times the
cap."""
SHORT_S, SEVERAL = 0.25, 128
"""A target that runs one sample in less than ``SHORT_S`` is timed on a batch, of ``SEVERAL`` at most."""
MOST_SAMPLES, LONG_S = 128, 1.0
"""As many samples run at once as take about ``SHORT_S``; one that takes longer than ``LONG_S`` runs only once."""
NO_TIME = "--max-seconds left no time for it"


def time_pairs(
    target: Target, defended: Target, examples: Mapping[str, Samples], *, clean_only: bool = False
) -> dict[str, Any]:
    """Measure the first samples of an audit at batch size 1.

    Args:
        target: runs the clean inputs.
        defended: runs the attacked ones: the same target, or a defended one.
        examples: ``index``, ``clean`` and ``attacked`` of one row.
        clean_only: time the clean inputs on both, for the clean row.

    Returns:
        The measured keys of a summary row; None, and a reason, for what this device cannot measure.
    """
    side = "clean" if clean_only else "attacked"
    clock = WallClock(target.device)
    pairs: list[tuple[Call, Call]] = []
    ahead = 0.0
    for row in first_of(examples["index"]).nonzero().flatten().tolist():
        pair = (_call(target, examples["clean"], row), _call(defended, examples[side], row))
        longer = ahead + REPEATS * sum(elapsed(call, clock) for call in pair)
        if longer > TIMED_S and len(pairs) >= FEWEST:
            break
        pairs.append(pair)
        ahead = longer
    warmup, repeats = (WARMUP, REPEATS) if ahead <= TIMED_S else (0, MIN_REPEATS)
    found = paired_latency(pairs, clock, warmup=warmup, repeats=repeats)
    energy, memory = energy_meter(target.device), memory_meter(target.device)
    rounds = math.ceil(ENERGY_S / (found.attacked_s_p50 * len(pairs)))

    def everything() -> None:
        for _ in range(rounds):
            for _, call in pairs:
                call()

    joules = energy.measure(everything) if energy.available else None
    peaks = [memory.measure(call) for _, call in pairs] if memory.available else []
    return {
        "latency_s_p50": found.attacked_s_p50,
        "latency_ci95": None if found.ci95 is None else list(found.ci95),
        "latency_slowdown": found.slowdown,
        "latency_valid": found.valid,
        "latency_reason": found.reason,
        "latency_n": found.n,
        "energy_j": None if joules is None else joules / (rounds * len(pairs)),
        "energy_reason": energy.reason,
        "memory_bytes": max((peak for peak in peaks if peak is not None), default=None),
        "memory_reason": memory.reason,
    }


def untimed(reason: str) -> dict[str, Any]:
    """Return the keys of :func:`time_pairs` for a row that was not timed.

    >>> found = untimed("not asked for")
    >>> found["latency_s_p50"], found["energy_reason"]
    (None, 'not asked for')
    """
    measured = (*(f"latency_{key}" for key in ("s_p50", "ci95", "slowdown", "valid", "n")), "energy_j", "memory_bytes")
    return dict.fromkeys(measured) | {f"{meter}_reason": reason for meter in ("latency", "energy", "memory")}


def _call(target: Target, stored: Samples, row: int) -> Call:
    """Return a call that runs one stored input as deployed."""
    inputs = target.read(stored[row : row + 1])
    return lambda: target.run(inputs)


@dataclass(frozen=True)
class Speed:
    """Seconds of one sample: of a forward pass, and of one that is followed by a backward pass."""

    forward: float
    both: float

    def seconds(self, forwards: int, backwards: int) -> float:
        """Return what so many passes take, the backward ones each after one of the forward ones."""
        return max(0, forwards - backwards) * self.forward + backwards * self.both


def speed_of(target: Target, data: DataSet, plan: Plan, *, both: bool) -> Speed:
    """Return the seconds that one sample takes, in a batch of the size that is attacked where one is quick."""

    def inputs(count: int) -> Samples:
        return target.read(data.load("test", count).inputs)

    def run(batch: Samples) -> Callable[[], object]:
        return lambda: target.run(batch)

    batch, count = inputs(1), 1
    seconds, _ = measured(run(batch))
    size = min(plan.batch_size, plan.limit or SEVERAL, SEVERAL)
    size = SEVERAL if target.offers("score") else size  # many candidates of each sample are run together
    if seconds < SHORT_S and size > 1:
        batch = inputs(size)
        count = len(batch)
    if seconds < SHORT_S:
        seconds = _again(run(batch)) / count
    return Speed(seconds, (_differentiated(target, batch) / count or BACKWARD * seconds + seconds) if both else 0.0)


def _again(call: Callable[[], object]) -> float:
    """Return the seconds of a call that was made before."""
    call()
    return measured(call)[0]


def _differentiated(target: Target, batch: Samples) -> float:
    """Return the seconds of a forward and a backward pass over signals; 0 where there is nothing to differentiate."""
    from torch import Tensor, enable_grad

    def step() -> bool:
        with enable_grad():
            given = batch.clone().requires_grad_() if isinstance(batch, Tensor) else batch
            signals = target.signals(given)
            values = [value for value in vars(signals).values() if isinstance(value, Tensor) and value.grad_fn]
            if values:
                try:
                    values[0].sum().backward()
                except RuntimeError:  # attacks do without such a gradient: see gradient_of
                    return False
        return bool(values)

    return measured(step)[0] if step() else 0.0


def small_run(target: Target, data: DataSet) -> Callable[[], object]:
    """Return a call that takes some tenths of a second at most, or the shortest there is."""
    one = target.read(data.load("test", 1).inputs)
    seconds, _ = measured(lambda: target.run(one))
    if seconds < LONG_S:  # the first run prepares what the next ones share
        seconds, _ = measured(lambda: target.run(one))
    count = min(MOST_SAMPLES, int(SHORT_S / max(seconds, 1e-6)))
    if count >= 1:
        several = target.read(data.load("test", count).inputs)
        return lambda: target.run(several)
    _, probe = next(iter(target.probes(one)))
    return probe


@dataclass(frozen=True)
class Spare:
    """Time that is left.

    Attributes:
        deadline: seconds since the epoch; None for no limit.
        one: seconds that one clean sample takes.
        work: of that sample, ``[U]``.
    """

    deadline: float | None = None
    one: float = 0.0
    work: tuple[int, ...] = ()

    @classmethod
    def of(cls, target: Target, data: DataSet, deadline: float | None) -> Spare:
        """Return what is left until ``deadline``; the target is run once to be timed, unless nothing is left."""
        if deadline is None or time.time() > deadline:
            return cls(deadline)
        inputs = target.read(data.load("test", 1).inputs)
        begin = time.perf_counter()
        work = target.run(inputs).work
        return cls(deadline, time.perf_counter() - begin, tuple(work.counts[0].tolist()))

    def leaves(self, seconds: float) -> bool:
        """Tell whether so many seconds are left.

        >>> Spare().leaves(9.0), Spare(deadline=0.0).leaves(9.0)
        (True, False)
        """
        return self.deadline is None or time.time() + seconds <= self.deadline

    def allows(self, work: pa.ChunkedArray) -> bool:
        """Tell whether a row can be measured.

        Args:
            work: its counts, those of a defense's own units last. Its samples are taken to last as long as the unit of
                the target's that grew most; nobody knows yet how long a defense takes.

        >>> counts = pa.chunked_array([[[1, 5], [1, 15]]])
        >>> Spare().allows(counts), Spare(0.0).allows(counts), Spare(time.time() + 90, 0.5, (1, 5)).allows(counts)
        (True, False, True)
        >>> Spare(time.time() + 90, 0.5, (1, 1)).allows(counts)
        False
        """
        if self.deadline is None or not self.work:
            return self.leaves(0.0)
        own = np.array(work.to_pylist(), dtype=np.float64)[:, : len(self.work)]
        times = (own / np.maximum(self.work, 1)).max(1)
        return self.leaves(self.one * float(CALLS * times.mean() + HIGHER * times.max()))


def modeled_latency(clock: Mapping[str, Any] | None, units: Sequence[str], work: pa.ChunkedArray) -> float | None:
    """Return the mean seconds of an input by its counts; None without a valid calibration of every unit.

    Args:
        clock: what the audit calibrated.
        units: names of the units that were counted, in the order of the counts.
        work: counts of each sample.

    >>> clock = {"valid": True, "seconds_per_unit": {"encoder": 0.5, "decoder_step": 0.1}}
    >>> modeled_latency(clock, ("encoder", "decoder_step"), pa.chunked_array([[[1, 5], [1, 15]]]))
    1.5
    """
    if clock is None or clock.get("valid") is not True:
        return None
    seconds = clock["seconds_per_unit"]
    if not set(units) <= seconds.keys():
        return None
    means = np.array(work.to_pylist(), dtype=np.float64).mean(0)
    return math.fsum(count * seconds[unit] for count, unit in zip(means.tolist(), units, strict=True))
