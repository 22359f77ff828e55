"""What the stages of a pipeline take by the clock of this device: seconds per unit, suppression of ``n`` candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from torpor.core.batches import Samples
from torpor.core.errors import MeterError
from torpor.meters import WallClock, latency
from torpor.meters.calibration import unit_clock
from torpor.targets.detector.nms import NMS, suppress

SIZES = (0, 64, 128, 256, 512, 1024, 2048)
"""Candidates of the boxes that suppression is timed on."""
REPEATS = 5


def stage_clock(target: Any, inputs: Samples) -> dict[str, Any]:  # noqa: ANN401 - any target that finds objects
    """Price every unit in seconds, and time suppression alone; None, and a reason, where the clock does not allow it.

    Advisory: records hold counts. Multiply a row's mean counts with these prices for seconds per stage.

    Args:
        target: with settings of suppression, ``nms``.
        inputs: one clean input.
    """
    try:
        nms = fit_suppression(target.nms, target.device)
    except MeterError:
        nms = None
    return {"nms": nms, **unit_clock(target, inputs)}


def fit_suppression(settings: NMS, device: torch.device) -> dict[str, Any]:
    """Fit ``t = a + b n + c n^2`` to the seconds that suppressing ``n`` random candidates takes, no term below zero.

    Boxes lie as in an attacked image, small and all over it, so that few overlap. Squared *relative* errors are
    least, or the largest times would decide alone.
    """
    seconds = []
    for count in SIZES:
        rng = torch.Generator().manual_seed(count)
        corner = torch.rand(count, 2, generator=rng) * 4 * max(count, 1) ** 0.5
        boxes = torch.cat([corner, corner + 4], 1).to(device)
        scores = (settings.conf + (1 - settings.conf) * (1 - torch.rand(count, 1, generator=rng))).to(device)
        timed = latency([lambda b=boxes, s=scores: suppress(b, s, settings)], WallClock(device), repeats=REPEATS)  # type: ignore[misc]
        seconds.append(timed.s_p50)
    sizes, times = np.array(SIZES, dtype=np.float64), np.array(seconds)
    terms = np.stack([np.ones_like(sizes), sizes, sizes**2], 1)
    a, b, c = nnls(terms / times[:, None], np.ones_like(times))[0]
    return {"a_s": float(a), "b_s": float(b), "c_s": float(c), "candidates": list(SIZES), "seconds": seconds}
