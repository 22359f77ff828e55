"""Headroom: the part of what was possible that the attack got."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.vectors import same_length, vector

SLACK = 1e-9
"""Relative rounding error that sums of prices may show."""


def headroom(cost: npt.ArrayLike, clean: npt.ArrayLike, static: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return (cost - clean) / (static - clean) of each sample, float64 ``[N]``.

    0 is the clean cost, 1 the static bound; negative where a change made the sample cheaper. NaN, "not defined", where
    the clean sample already costs all it can.

    Args:
        cost: cost of each attacked sample.
        clean: cost of the same samples before the attack.
        static: static bound, per sample or one for all.

    Raises:
        UsageError: if lengths differ, or if a cost exceeds the static bound, which then is none.

    >>> headroom([10.0, 25.0, 40.0], [10.0, 10.0, 40.0], 40.0).tolist()
    [0.0, 0.5, nan]
    """
    after, before = vector(cost, "costs"), vector(clean, "clean costs")
    most = vector(np.broadcast_to(static, before.shape) if np.ndim(static) == 0 else static, "static bounds")
    same_length(cost=after, clean=before, static=most)
    over = np.maximum(after, before) > most + SLACK * np.abs(most)
    if over.any():
        raise UsageError(
            f"expected costs up to the static bound, got {over.sum()} of {len(over)} above it; correct max_work"
        )
    room = most - before
    share = np.full(len(room), np.nan)
    np.divide(after - before, room, out=share, where=room > SLACK * np.abs(most))
    return share


def taken(
    headrooms: npt.NDArray[np.float64], clean_rejected: npt.ArrayLike | None, rejected: npt.ArrayLike | None
) -> npt.NDArray[np.float64]:
    """Return what attackers took where a defense rejects inputs: no less than 0, and NaN after a false alarm.

    What is rejected early costs less than its clean version, which is no gain to report below 0. A clean input that is
    rejected itself costs next to nothing, so that any version that passes would seem to take it all.

    Args:
        headrooms: of each sample, NaN where not defined.
        clean_rejected: whether the clean input is rejected, ``[N]``; None where nothing rejects inputs.
        rejected: whether the attacked input is, likewise.

    >>> taken(np.array([-0.5, -0.5, 1.0]), [False, False, True], [True, False, False]).tolist()
    [0.0, -0.5, nan]
    """
    if clean_rejected is None or rejected is None:
        return headrooms
    found = np.where(np.asarray(rejected, dtype=bool), np.maximum(headrooms, 0), headrooms)
    return np.where(np.asarray(clean_rejected, dtype=bool), np.nan, found)


def mean_headroom(headrooms: npt.ArrayLike) -> float | None:
    """Return the mean over the samples that had headroom; None if none had.

    >>> mean_headroom([0.5, float("nan"), 1.0])
    0.75
    >>> mean_headroom([float("nan")]) is None
    True
    """
    array = vector(headrooms, "headrooms", nan=True)
    defined = array[~np.isnan(array)]
    return float(defined.mean()) if len(defined) else None
