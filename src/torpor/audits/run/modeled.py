"""Modeled latency: counts times the seconds per unit that were calibrated in the audit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa


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
