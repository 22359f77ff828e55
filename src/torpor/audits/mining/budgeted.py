"""Run only the inputs that are likely to be expensive: a random sample, then those that a surrogate ranks highest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from torpor.audits.mining.features import feature_table
from torpor.audits.mining.inputs import NaturalInputs
from torpor.audits.mining.measured import MeasuredWork, Tell, measured
from torpor.audits.mining.surrogate import SurrogateRecall, predicted, recall_on_sample
from torpor.core.errors import UsageError
from torpor.core.work import PriceList
from torpor.targets.base import Target

LEAST_RUNS = 20
"""Runs of a budget: half of them are the sample that the surrogate learns from."""


@dataclass(frozen=True, eq=False)
class BudgetedWork:
    """What was run of all inputs.

    Attributes:
        work: of the sample, then of those that the surrogate ranked highest.
        sample: how many of them are the random sample.
        recall: of the surrogate; None if all inputs of the sample cost the same.
    """

    work: MeasuredWork
    sample: int
    recall: SurrogateRecall | None


def parse_share(text: str) -> float:
    """Return a share of the inputs, as in ``5%`` or ``0.05``.

    Raises:
        UsageError: if it is none above 0 and up to 1.

    >>> parse_share("5%"), parse_share("1")
    (0.05, 1.0)
    """
    try:
        share = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise UsageError(f"expected a share of the inputs above 0 and up to 100%, got {text!r}; write 5% or 0.05")
    return share


def within_budget(
    target: Target,
    inputs: NaturalInputs,
    share: float,
    prices: PriceList,
    batch_size: int,
    seed: int,
    tell: Tell = lambda done, total: None,
) -> BudgetedWork:
    """Run a share of the inputs: half of it drawn at random, half chosen by a surrogate that was fitted on that.

    Args:
        target: what runs.
        inputs: of which some are run.
        share: of the inputs that may be run.
        prices: of the target's units.
        batch_size: inputs per batch.
        seed: of the sample and the surrogate.
        tell: called after each batch.

    Raises:
        UsageError: if the share is less than :data:`LEAST_RUNS` inputs.
        DataError: if an input cannot be read any more.
    """
    runs = math.ceil(share * len(inputs) - 1e-9)
    if runs < LEAST_RUNS:
        enough = math.ceil(100 * LEAST_RUNS / len(inputs))
        how = f"raise it to {enough}%" if enough <= 100 else "leave it out"
        raise UsageError(
            f"expected a budget of {LEAST_RUNS} runs or more, got {100 * share:g}% of "
            f"{len(inputs):,} inputs, {runs}; {how}"
        )
    rows = np.random.default_rng(seed).permutation(len(inputs))[: runs // 2]
    sample = measured(target, inputs, rows.tolist(), prices, batch_size, lambda done, _: tell(done, runs))
    features = feature_table(inputs)
    guess = predicted(features[rows], sample.cost, features, seed)
    guess[rows] = -np.inf
    best = np.lexsort((np.arange(len(guess)), -guess))[: runs - len(rows)]
    recall = recall_on_sample(features, rows, sample.cost, len(best) / len(inputs), seed)
    done = len(rows)
    chosen = measured(target, inputs, best.tolist(), prices, batch_size, lambda more, _: tell(done + more, runs))
    return BudgetedWork(sample + chosen, len(rows), recall)
