"""Wall-clock, energy and memory of the kept examples: clean and attacked in turns, one sample at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torpor.audits.run.examples import FIRST
from torpor.core.batches import Samples
from torpor.meters import WallClock, energy_meter, memory_meter, paired_latency
from torpor.meters.clock import elapsed
from torpor.meters.wall_clock import Call
from torpor.targets.base import Target

REPEATS = 6
TIMED_S = 20.0  # what the timing of one row may take, or it would take longer than the attack
FEWEST = 4  # samples that are timed whatever that takes
ENERGY_S = 2.0  # counters tick every 20 to 100 ms, so one call would be all tick or no tick


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
    for row in (examples["index"] < FIRST).nonzero().flatten().tolist():
        pair = (_call(target, examples["clean"], row), _call(defended, examples[side], row))
        ahead += REPEATS * sum(elapsed(call, clock) for call in pair)
        if ahead > TIMED_S and len(pairs) >= FEWEST:
            break
        pairs.append(pair)
    found = paired_latency(pairs, clock, repeats=REPEATS)
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
