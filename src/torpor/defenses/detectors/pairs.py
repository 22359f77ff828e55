"""Pairs of a clean and an attacked input: what detectors learn from, and what they are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from torpor.attacks.base import Attack
from torpor.core.batches import Samples, join, take
from torpor.data.sets import DataSet
from torpor.targets.base import Target

BATCH = 32


@dataclass(frozen=True, eq=False)
class Pairs:
    """Inputs of one split, clean and attacked.

    Attributes:
        clean: all inputs; the first ``paired`` were attacked.
        attacked: by attack, the attacked inputs that cost more than their clean one; where an attack found none, there
            is not a pair, and nothing to detect.
        slowdown: by attack, the mean over these of attacked cost by clean cost; None if there are none.
        cost: mean cost of the clean inputs, FLOPs.
    """

    clean: Samples
    attacked: Mapping[str, Samples]
    slowdown: Mapping[str, float | None]
    cost: float
    paired: int


def attack_pairs(
    target: Target,
    attacks: Mapping[str, Attack],
    inputs: Samples,
    references: Samples | None,
    seed: int,
    paired: int | None = None,
) -> Pairs:
    """Attack the first ``paired`` of ``inputs``, or all, in every way; keep what cost more than its clean input."""
    whole, inputs = target.space.snap(inputs), inputs[:paired]
    clean = whole[:paired]
    cost = target.prices.cost(target.run(clean).work)
    attacked: dict[str, Samples] = {}
    slowdown: dict[str, float | None] = {}
    for name, attack in attacks.items():
        parts, costs = [], []
        for at in range(0, len(inputs), BATCH):
            rows = slice(at, min(at + BATCH, len(inputs)))
            known = None if references is None else references[rows]
            result = attack(target, inputs[rows], references=known, seed=seed)
            parts.append(result.inputs)
            costs.append(target.attacker_cost(result.attacked))
        ratio = torch.cat(costs) / cost
        attacked[name] = take(join(parts), ratio > 1)
        slowdown[name] = ratio[ratio > 1].mean().item() if bool((ratio > 1).any()) else None
    return Pairs(whole, attacked, slowdown, cost.mean().item(), len(inputs))


@lru_cache(maxsize=1)
def training_pairs(target: Target, data: DataSet, attacks: tuple[Attack, ...], count: int, seed: int) -> Pairs:
    """Attack the first ``count`` inputs of the train split; the last result is kept, for the next detector.

    Raises:
        DataError: if the split cannot be read.
    """
    batch = data.load("train", count)
    references = batch.references if len(batch.references) else None
    named = {f"{attack.id} {attack.budget}": attack for attack in attacks}
    return attack_pairs(target, named, target.read(batch.inputs), references, seed)
