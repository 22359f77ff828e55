"""Natural inputs: what they cost, and how far that is from what they cost on a reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.metrics.vectors import same_length, vector
from torpor.targets.base import Target

BATCH = 64
"""Inputs that run at once."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Costs:
    """What inputs cost on a target.

    Attributes:
        cost: in the target's currency, float64 ``[N]``.
        static: the static bound of each, in the same currency, float64 ``[N]``.
    """

    cost: Floats
    static: Floats

    @property
    def shares(self) -> Floats:
        """Each cost as a share of its static bound, ``[N]``.

        >>> Costs(np.array([1.0, 3.0]), np.array([4.0, 4.0])).shares.tolist()
        [0.25, 0.75]
        """
        return self.cost / self.static

    @property
    def level(self) -> float:
        """The logarithm of the mean share.

        >>> Costs(np.array([4.0, 4.0]), np.array([4.0, 4.0])).level
        0.0
        """
        return math.log(max(float(self.shares.mean()), 1e-12))


@torch.no_grad()
def costs_of(target: Target, inputs: Samples) -> Costs:
    """Run inputs, ``N`` of them, and return what they cost.

    Raises:
        UsageError: if there are none, or the target has no price.

    >>> from torpor.targets.early_exit.toys import WindowTarget
    >>> costs_of(WindowTarget([0.5], [0.1]), torch.full((2, 1, 4, 4), 0.5)).level
    0.0
    """
    if not len(inputs):
        raise UsageError("expected natural inputs, got none; pass --inputs FILE_OR_FOLDER")
    cost, static = [], []
    for start in range(0, len(inputs), BATCH):
        some = inputs[start : start + BATCH]
        cost.append(target.prices.cost(target.run(some).work).cpu())
        static.append(target.prices.cost(target.max_work(some)).cpu())
    most = torch.cat(static).numpy()
    if not (most > 0).all():
        raise UsageError(f"expected static bounds above 0 of {target.name}, got some that are not; price its units")
    return Costs(torch.cat(cost).numpy(), most)


def distance(costs: npt.ArrayLike, before: npt.ArrayLike) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples of costs, from 0 for alike to 1 for apart.

    Raises:
        UsageError: if either is empty or not finite.

    >>> distance([1, 2], [1, 2]), distance([1, 2], [3, 4])
    (0.0, 1.0)
    """
    one, other = np.sort(vector(costs, "costs")), np.sort(vector(before, "costs before"))
    at = np.concatenate([one, other])
    shares = (np.searchsorted(each, at, "right") / len(each) for each in (one, other))
    return float(np.abs(np.subtract(*shares)).max())


def mean_log_ratio(costs: npt.ArrayLike, before: npt.ArrayLike) -> float:
    """Return the mean logarithm of cost over cost before, sample by sample.

    Raises:
        UsageError: if lengths differ, or a cost is not above 0.

    >>> round(math.exp(mean_log_ratio([2.0, 8.0], [1.0, 1.0])), 6)
    4.0
    """
    one, other = vector(costs, "costs"), vector(before, "costs before")
    same_length(costs=one, before=other)
    if not ((one > 0).all() and (other > 0).all()):
        raise UsageError("expected costs above 0, got some that are not; leave out inputs that a defense rejects")
    return float(np.log(one / other).mean())
