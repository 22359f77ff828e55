"""How well scores tell attacked inputs from clean ones: the higher, the more likely attacked.

An input is flagged where its score is *above* a threshold. Thresholds come from inputs of their own: one that is read
off the inputs that it is judged on promises too much.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.tails import CHUNK
from torpor.metrics.vectors import vector

Floats = npt.NDArray[np.float64]


def auroc(clean: npt.ArrayLike, attacked: npt.ArrayLike) -> float:
    """Return the area under the ROC curve: the probability that an attacked input scores above a clean one, ties half.

    Args:
        clean: scores of clean inputs.
        attacked: scores of attacked inputs.

    Raises:
        UsageError: if either is empty or not finite.

    >>> auroc([0.0, 1.0], [1.0, 2.0])
    0.875
    """
    return float(_areas(vector(clean, "clean scores")[None], vector(attacked, "attacked scores")[None])[0])


def auroc_ci95(
    clean: npt.ArrayLike, attacked: npt.ArrayLike, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of :func:`auroc`; clean and attacked are resampled apart.

    Args:
        clean: scores of clean inputs.
        attacked: scores of attacked inputs.
        resamples: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Raises:
        UsageError: if either is empty or not finite, or ``resamples`` is less than 1.

    >>> auroc_ci95([0.0, 0.5], [1.0, 2.0])
    (1.0, 1.0)
    """
    low, high = vector(clean, "clean scores"), vector(attacked, "attacked scores")
    if resamples < 1:
        raise UsageError(f"expected at least 1 resample, got {resamples}; 1000 is usual")
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // (len(low) + len(high)))
    areas = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = (values[generator.integers(len(values), size=(count, len(values)))] for values in (low, high))
        areas.append(_areas(*drawn))
    below, above = np.quantile(np.concatenate(areas), [0.025, 0.975])
    return float(below), float(above)


def _areas(clean: Floats, attacked: Floats) -> Floats:
    """Return the area for each row of scores ``[R, N]`` and ``[R, M]``."""
    areas = np.empty(len(clean))
    for row, (low, high) in enumerate(zip(np.sort(clean), attacked, strict=True)):
        below, upto = np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
        areas[row] = (below + upto).mean() / (2 * len(low))
    return areas


def threshold_at(clean: npt.ArrayLike, fpr: float) -> float:
    """Return the least score of ``clean`` above which a new clean input lies with a probability of ``fpr`` or less.

    The ``ceil((n + 1) (1 - fpr))``-th smallest of ``n`` scores: the probability is over the draw of these and of the
    new one (split conformal prediction, Vovk et al., 2005).

    Args:
        clean: scores of clean inputs that nothing was fitted on.
        fpr: false-positive rate, between 0 and 1.

    Raises:
        UsageError: if there are too few scores for so small a rate, or the rate is not between 0 and 1.

    >>> threshold_at(range(99), 0.01), threshold_at(range(99), 0.05)
    (98.0, 94.0)
    """
    scores = np.sort(vector(clean, "clean scores"))
    check_calibration(len(scores), fpr)
    rank = math.ceil((len(scores) + 1) * (1 - fpr) - 1e-9)
    return float(scores[rank - 1])


def fewest(fpr: float) -> int:
    """Return how many clean scores it takes to promise a false-positive rate.

    Raises:
        UsageError: if the rate is not between 0 and 1.

    >>> fewest(0.05), fewest(0.01)
    (19, 99)
    """
    if not 0 < fpr < 1:
        raise UsageError(f"expected a false-positive rate between 0 and 1, got {fpr:g}")
    return math.ceil(1 / fpr - 1e-9) - 1


def check_calibration(count: int, fpr: float) -> None:
    """Refuse to promise a rate on too few clean inputs.

    Raises:
        UsageError: if ``count`` is below :func:`fewest`.
    """
    if count < (least := fewest(fpr)):
        raise UsageError(
            f"expected {least} clean inputs or more for a rate of {fpr:g}, got {count}; allow a larger one or give more"
        )


def flagged(scores: npt.ArrayLike, threshold: float) -> float:
    """Return the share of ``scores`` above ``threshold``: the TPR of attacked inputs, the FPR of clean ones.

    >>> flagged([0.0, 1.0, 2.0, 3.0], 1.0)
    0.5
    """
    return float((vector(scores, "scores") > threshold).mean())


def balanced_accuracy(clean: npt.ArrayLike, attacked: npt.ArrayLike, threshold: float) -> float:
    """Return the mean of the share of attacked inputs that are flagged and of clean ones that are not.

    >>> balanced_accuracy([0.0, 1.0], [1.0, 2.0], 0.5)
    0.75
    """
    return (flagged(attacked, threshold) + 1 - flagged(clean, threshold)) / 2


def best_threshold(clean: npt.ArrayLike, attacked: npt.ArrayLike) -> float:
    """Return the threshold of largest :func:`balanced_accuracy`, midway between scores; the least one among equals.

    >>> best_threshold([0.0, 1.0], [2.0, 3.0])
    1.5
    """
    low, high = np.sort(vector(clean, "clean scores")), np.sort(vector(attacked, "attacked scores"))
    scores = np.unique(np.concatenate([low, high]))
    cuts = np.concatenate([[scores[0] - 1], (scores[1:] + scores[:-1]) / 2, [scores[-1]]])
    passed = np.searchsorted(low, cuts, "right") / len(low)
    missed = np.searchsorted(high, cuts, "right") / len(high)
    return float(cuts[np.argmax(passed - missed)])
