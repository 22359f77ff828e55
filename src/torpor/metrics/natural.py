"""The costliest natural inputs: an attack that stays below them slowed nothing that traffic had not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.vectors import vector


def benign_percentile(costs: npt.ArrayLike, q: float = 0.999) -> float:
    """Return the cost that a share ``q`` of natural inputs does not exceed, linear between neighbors.

    Of fewer than ``1 / (1 - q)`` inputs it lies between the two costliest: state the number of inputs beside it.

    Args:
        costs: cost of each natural input.
        q: share between 0 and 1.

    Raises:
        UsageError: if there are no costs, some are not finite, or ``q`` is out of range.

    >>> benign_percentile([1.0, 2.0, 3.0], 0.5)
    2.0
    """
    if not 0 <= q <= 1:
        raise UsageError(f"expected a share between 0 and 1, got {q}; write 0.999 for the 99.9th percentile")
    return float(np.quantile(vector(costs, "costs"), q))
