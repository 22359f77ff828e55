"""What the units of a target take by the clock of this device, for prices that are chosen after an audit."""

from __future__ import annotations

import time
from typing import Any

from torpor.core.batches import Samples
from torpor.core.errors import MeterError, TorporError
from torpor.meters import Clock, WallClock
from torpor.meters.calibration import calibration

REPEATS = 5
MOST_S = 30.0
"""What calibration may take, seconds: a probe of a large model runs until the cap."""


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
        found = calibration(target, inputs, clock or WallClock(target.device), check=check, repeats=REPEATS, warmup=0)
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
    start = time.perf_counter()
    for _, call in target.probes(inputs):
        call()
        if (time.perf_counter() - start) * REPEATS > MOST_S:
            break
    return time.perf_counter() - start
