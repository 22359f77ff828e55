"""Which controls stand beside attacks of a budget: each spends as much as they may, or as they did, but blindly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls import BestNoise, Flat, Noise, Shuffled
from torpor.attacks.incumbent import Incumbent
from torpor.attacks.text_controls import BestOfK, KeepWriting, RandomEdits
from torpor.core.budget import COUNTS, Budget
from torpor.targets.base import Target


def free_controls(budget: Budget) -> list[Attack]:
    """Return the controls that need no other attack's result.

    >>> [control.id for control in free_controls(Budget("tokens", 3))]
    ['control-random-edits']
    """
    kinds: list[type[Attack]] = [RandomEdits] if budget.norm in COUNTS else [Noise, Flat]
    if budget.norm in KeepWriting.norms:
        kinds.append(KeepWriting)
    return [kind(norm=budget.norm, eps=budget.eps) for kind in kinds]


def matched_controls(
    budget: Budget, target: Target, attacks: Sequence[Attack], results: Sequence[AttackResult]
) -> list[Attack]:
    """Return the controls that are matched to what ``attacks`` of this budget did to the same batch, and spent.

    What a text was learned with is spent on it. A perturbation of pixels that is learned once, for any number of
    inputs, spends nothing on one of them; luck is given one query then.
    """
    spent = torch.stack([result.candidates.forwards.cpu() for result in results])
    if budget.norm in COUNTS:
        before = torch.tensor([attack.forwards_before for attack in attacks])
        queries = (spent + before.unsqueeze(1)).amax(0)
        return [BestOfK(norm=budget.norm, eps=budget.eps, queries=queries)]
    shuffled = Shuffled(norm=budget.norm, eps=budget.eps, perturbation=costliest(target, results))
    if not target.family.by_chance:
        return [shuffled]
    return [shuffled, BestNoise(norm=budget.norm, eps=budget.eps, queries=spent.amax(0).clamp_min(1))]


def control_ids(budget: Budget, *, by_chance: bool) -> tuple[str, ...]:
    """Return the names of all controls of a budget.

    Args:
        budget: of the attacks that they stand beside.
        by_chance: whether any change may change how many outputs the target has, so that luck alone may do something.

    >>> control_ids(Budget("Linf", 0.1), by_chance=False)
    ('control-noise', 'control-flat', 'control-shuffled')
    """
    matched: tuple[type[Attack], ...] = (Shuffled, BestNoise) if by_chance else (Shuffled,)
    if budget.norm in COUNTS:
        matched = (BestOfK,)
    return (*(control.id for control in free_controls(budget)), *(kind.id for kind in matched))


def costliest(target: Target, results: Sequence[AttackResult]) -> Tensor:
    """Return, per sample, the perturbation ``[B, ...]`` of the costliest of several results."""
    held = Incumbent.begin(results[0].inputs - results[0].clean_inputs)
    rows = torch.arange(len(held.cost))
    for result in results:
        held.offer(rows, result.inputs - result.clean_inputs, target.claimed(result.attacked))
    best: Tensor = held.inputs
    return best
