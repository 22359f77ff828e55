"""What bounds certify: no attack of a budget finds more, whoever writes it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torpor.metrics.headroom import SLACK
from torpor.metrics.tails import tails
from torpor.metrics.vectors import same_length, vector


def certified_summary(certified: npt.ArrayLike, slowdown: npt.ArrayLike, cost: npt.ArrayLike) -> dict[str, float]:
    """Return the figures of a summary row that follow from certified costs.

    Args:
        certified: cost that no input within the budget of each sample exceeds, ``[N]``.
        slowdown: the same over the sample's clean cost.
        cost: that was found.

    Raises:
        UsageError: if lengths differ, or some value is not finite.

    >>> certified_summary([4.0, 2.0], [4.0, 2.0], [3.0, 1.0])["certified_gap"]
    1.5
    """
    most, found = vector(certified, "certified costs"), vector(cost, "costs")
    tail = tails(slowdown)
    same_length(certified=most, cost=found)
    return {
        "certified_cost_mean": float(most.mean()),
        "certified_slowdown_mean": tail.mean,
        "certified_slowdown_p95": tail.p95,
        "certified_slowdown_max": tail.max,
        "certified_gap": float(most.mean() / found.mean()),
    }


def exceeding(certified: npt.ArrayLike, cost: npt.ArrayLike) -> int | None:
    """Return the place of the sample whose cost is farthest above what was certified; None if none is.

    >>> exceeding([4.0, 2.0, 1.0], [3.0, 3.0, 4.0]), exceeding([4.0], [4.0])
    (2, None)
    """
    most, found = vector(certified, "certified costs"), vector(cost, "costs")
    over = found - most * (1 + SLACK)
    place = int(np.argmax(over))
    return place if over[place] > 0 else None
