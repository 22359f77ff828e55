"""Degradation: whom a guard hurts that did nothing wrong, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from torpor.metrics.vectors import same_length, vector


@dataclass(frozen=True)
class Degradation:
    """What a defense did to clean samples.

    Attributes:
        samples: clean samples.
        changed: how many of them get another output, or none.
        share: the same as a share of all.
        cost_ratio: mean cost, without the defense, of those whose output changed over that of all samples: above 1,
            expensive samples are hit; None if no output changed.
        utility_before: mean utility, without the defense, of those whose output changed; None if unknown.
        utility_after: the same with the defense.
        utility_loss: mean loss of utility over all clean samples; None if unknown.
        worst_loss: largest loss of one sample.
        hurt: how many lost utility; a change may also be none, or one for the better.
    """

    samples: int
    changed: int
    share: float
    cost_ratio: float | None
    utility_before: float | None
    utility_after: float | None
    utility_loss: float | None
    worst_loss: float | None
    hurt: int | None


def degradation(
    agreement: npt.ArrayLike, flops: npt.ArrayLike, utility: npt.ArrayLike, utility_guarded: npt.ArrayLike
) -> Degradation:
    """Compare the outputs of clean samples without and with a defense.

    Args:
        agreement: whether each output of the defended target is the same, ``[N]``; False for a rejected sample.
        flops: cost of each sample without the defense.
        utility: of each output without the defense, NaN where unknown.
        utility_guarded: of each output with the defense; 0 for a rejected sample.

    Raises:
        UsageError: if there are no samples, or lengths differ.

    >>> same, flops = [True, True, False, False], [10.0, 10.0, 30.0, 30.0]
    >>> found = degradation(same, flops, [1.0, 0.5, 1.0, 0.2], [1.0, 0.5, 0.0, 0.4])
    >>> found.share, found.cost_ratio, found.hurt, found.worst_loss
    (0.5, 1.5, 1, 1.0)
    >>> round(found.utility_before, 3), round(found.utility_after, 3), round(found.utility_loss, 3)
    (0.6, 0.2, 0.2)
    """
    same = vector(agreement, "agreement") != 0
    cost = vector(flops, "flops")
    before = vector(utility, "utility", nan=True)
    after = vector(utility_guarded, "guarded utility", nan=True)
    same_length(agreement=same.astype(np.float64), flops=cost, utility=before, utility_guarded=after)
    loss = before - after
    known = ~np.isnan(loss)
    theirs = known & ~same
    return Degradation(
        samples=len(same),
        changed=int((~same).sum()),
        share=float((~same).mean()),
        cost_ratio=None if same.all() else float(cost[~same].mean() / cost.mean()),
        utility_before=_mean(before[theirs]),
        utility_after=_mean(after[theirs]),
        utility_loss=_mean(loss[known]),
        worst_loss=float(loss[known].max()) if known.any() else None,
        hurt=int((loss[known] > 0).sum()) if known.any() else None,
    )


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
