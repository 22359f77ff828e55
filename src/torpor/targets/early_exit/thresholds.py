"""Choose a threshold on validation data: the cheapest that loses at most a given share of accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.targets.early_exit.exit_rules import Confidence, ExitRule

GRID = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.97, 0.98, 0.99)


@dataclass(frozen=True)
class ThresholdRow:
    """What one threshold buys on validation data.

    Attributes:
        threshold: at which samples leave, such as a softmax probability.
        accuracy: share of right predictions at the exits taken.
        mean_cost: mean FLOPs as a share of the whole network's.
    """

    threshold: float
    accuracy: float
    mean_cost: float


def exits_taken(logits: Tensor, rule: ExitRule) -> Tensor:
    """Return the exit index ``[N]`` that each sample takes, given the logits ``[N, K, C]`` of every exit."""
    fires = torch.stack([rule.margin(logits[:, : k + 1]) >= 0 for k in range(logits.shape[1] - 1)], dim=1)
    return (~fires).to(torch.int64).cumprod(1).sum(1)


def threshold_table(
    logits: Tensor, labels: Tensor, exit_costs: Tensor, rule: Callable[[float], ExitRule] = Confidence
) -> list[ThresholdRow]:
    """Evaluate every threshold of the grid.

    Args:
        logits: class scores at every exit on validation data, ``[N, K, C]``.
        labels: true classes, ``[N]``.
        exit_costs: cumulative cost at each exit, ``[K]``, ending in 1.
        rule: makes a rule of a threshold.

    >>> logits = torch.tensor([[[0.0, 1.0], [0.0, 9.0]]])
    >>> threshold_table(logits, torch.tensor([1]), torch.tensor([0.25, 1.0]))[0]
    ThresholdRow(threshold=0.05, accuracy=1.0, mean_cost=0.25)
    """
    rows = []
    for threshold in GRID:
        exits = exits_taken(logits, rule(threshold))
        predicted = logits[torch.arange(len(logits)), exits].argmax(-1)
        accuracy = (predicted == labels).to(torch.float64).mean().item()
        rows.append(ThresholdRow(threshold, accuracy, exit_costs[exits].to(torch.float64).mean().item()))
    return rows


def choose_threshold(table: Sequence[ThresholdRow], final_accuracy: float, max_drop: float) -> ThresholdRow:
    """Pick the cheapest row whose accuracy is above ``final_accuracy * (1 - max_drop)``.

    Args:
        table: rows measured on validation data, never on the data to report on.
        final_accuracy: accuracy of the last exit on the same data.
        max_drop: largest relative loss of accuracy, such as 0.05.

    Raises:
        UsageError: if no threshold keeps that much accuracy.

    >>> rows = [ThresholdRow(0.5, 0.70, 0.2), ThresholdRow(0.9, 0.89, 0.6)]
    >>> choose_threshold(rows, 0.90, 0.05).threshold
    0.9
    """
    good = [row for row in table if row.accuracy > final_accuracy * (1 - max_drop)]
    if not good:
        best = max(row.accuracy for row in table)
        raise UsageError(
            f"expected a threshold that keeps accuracy above {final_accuracy * (1 - max_drop):.4f}, got {best:.4f} at "
            "best; train the exits longer or allow a larger drop"
        )
    return min(good, key=lambda row: row.mean_cost)
