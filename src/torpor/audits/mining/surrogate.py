"""Guess from cheap features which inputs are expensive, and say how many of those the guess misses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
LEAST_EXPENSIVE = 5
"""Expensive inputs that a sample must hold for a recall to mean something."""


@dataclass(frozen=True)
class SurrogateRecall:
    """How many expensive inputs a surrogate finds, measured on a random sample that it did not see.

    Each part of the sample is ranked by a surrogate that was fitted on the other parts. These share most of what they
    learn from, so that the interval is somewhat too narrow.

    Attributes:
        share: the costliest of this share of inputs are meant, and the surrogate may choose as many.
        expensive: how many of them are in the sample.
        found: how many of those the surrogate ranks high enough to be run.
        low: of the 95 % interval of Clopper and Pearson.
        high: of the same.
    """

    share: float
    expensive: int
    found: int
    low: float
    high: float

    @property
    def recall(self) -> float:
        """Share of the expensive inputs that was found."""
        return self.found / self.expensive


def predicted(
    features: NDArray[np.float64], cost: NDArray[np.float64], wanted: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Fit a surrogate and return its guesses; they rank inputs, and are no costs.

    A ridge regression goes on beyond what it saw, randomized trees (Geurts, Ernst and Wehenkel 2006) bend:
    each is scaled to what it says of the inputs that it was fitted on, and they are added.

    Args:
        features: of the inputs that were run, ``[N, F]``.
        cost: of these, ``[N]``.
        wanted: features of the inputs to guess, ``[M, F]``.
        seed: of the trees.
    """
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if cost.min() == cost.max():
        return np.zeros(len(wanted))
    models: list[Any] = [
        make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11))),
        ExtraTreesRegressor(100, min_samples_leaf=2, random_state=seed, n_jobs=1),
    ]
    whole = np.zeros(len(wanted))
    for model in models:
        model.fit(features, cost)
        seen = model.predict(features)
        if (spread := float(seen.std())) > 0:
            whole += (model.predict(wanted) - seen.mean()) / spread
    return whole


def recall_on_sample(
    features: NDArray[np.float64], rows: NDArray[np.int64], cost: NDArray[np.float64], share: float, seed: int
) -> SurrogateRecall | None:
    """Return how many of the expensive inputs of a random sample the surrogate finds.

    Args:
        features: of every input, ``[N, F]``.
        rows: numbers of the sample, in random order, ``[M]``; fewer than all.
        cost: of the sample, ``[M]``.
        share: of all inputs that the surrogate may choose; where so few that hardly one would be in the sample, more.
        seed: of the surrogate.

    Returns:
        None if all inputs of the sample cost the same, so that none of them is expensive.
    """
    from scipy.stats import binomtest

    share = min(1.0, max(share, LEAST_EXPENSIVE / len(rows)))
    limit = np.quantile(cost, 1 - share, method="higher")
    if limit <= cost.min():
        limit = np.nextafter(cost.min(), np.inf)
    expensive = cost >= limit
    if not expensive.any():
        return None
    found, unseen = 0, np.setdiff1d(np.arange(len(features)), rows)  # of what it learned from, it is too sure
    for fold in range(FOLDS):
        held = np.arange(len(rows)) % FOLDS == fold
        guess = predicted(features[rows[~held]], cost[~held], features, seed)
        for row in rows[held & expensive]:
            before = guess[unseen] > guess[row]
            before |= (guess[unseen] == guess[row]) & (unseen < row)  # of equal guesses the first are chosen
            found += int(before.sum() < share * len(unseen))
    interval = binomtest(found, int(expensive.sum())).proportion_ci(0.95, method="exact")
    return SurrogateRecall(share, int(expensive.sum()), found, float(interval.low), float(interval.high))
