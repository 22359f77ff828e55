"""Slowdown: cost over the clean cost of the same sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.vectors import same_length, vector


def slowdown(cost: npt.ArrayLike, clean: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return cost over clean cost of each sample, float64 ``[N]``.

    Args:
        cost: cost of each attacked sample.
        clean: cost of the same samples before the attack, in the same unit.

    Raises:
        UsageError: if lengths differ, a clean cost is not above 0, or a cost is negative.

    >>> slowdown([30.0, 10.0], [10.0, 10.0]).tolist()
    [3.0, 1.0]
    """
    after, before = vector(cost, "costs"), vector(clean, "clean costs")
    same_length(cost=after, clean=before)
    if before.min() <= 0 or after.min() < 0:
        raise UsageError(
            f"expected clean costs above 0 and costs of 0 or more, got {before.min():g} and {after.min():g} at least; "
            "price every unit that a clean run needs"
        )
    ratio: npt.NDArray[np.float64] = after / before
    return ratio
