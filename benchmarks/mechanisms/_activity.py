"""What rows of networks whose work follows the activity of neurons share: an attack, and a mean of what it reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack
from torpor.core.work import Work
from torpor.targets.base import Target

Metric = tuple[str, Callable[[Work], Tensor]]
"""A name, and what it makes of each sample's work ``[B]``."""


def measured(
    target: Target,
    attacks: Sequence[tuple[str, Attack]],
    metrics: Sequence[Metric],
    published: dict[tuple[str, str], str],
    limit: int,
    folder: Path | None,
) -> list[Row]:
    """Return one row per attack and metric, clean images first.

    Args:
        target: what is attacked.
        attacks: each with its name in the table.
        metrics: of the papers.
        published: by the names of an attack and a metric.
        limit: samples.
        folder: of the data.
    """
    batch = target.data(folder).load("test", limit)
    images = target.read(batch.inputs)
    works = [("clean", "no budget", 0.0, target.run(images).work)]
    for name, attack in attacks:
        result = attack(target, images, references=batch.references)
        spent = (result.candidates.forwards + result.candidates.backwards).to(torch.float64).mean().item()
        budget = f"{attack.norm} {round(attack.eps * 255)}/255"
        works.append((name, budget, spent, result.attacked.work))
    return [
        Row(
            target.name,
            name,
            budget,
            metric,
            measure(work).to(torch.float64).mean().item(),
            published.get((name, metric), ""),
            passes,
            len(images),
        )
        for name, budget, passes, work in works
        for metric, measure in metrics
    ]
