"""Which controls run with the attacks of a budget: each spends as much as they may, or as they did, at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.registry import ATTACKS
from torpor.attacks.search.incumbent import Incumbent
from torpor.core.budget import COUNTS, GROWING, Budget
from torpor.targets.base import Target


def free_controls(budget: Budget) -> list[Attack]:
    """Return the controls that need no other attack's result.

    >>> [control.id for control in free_controls(Budget("tokens", 3))]
    ['control-random-edits']
    """
    return [ATTACKS.find(name)(norm=budget.norm, eps=budget.eps) for name in _free(budget)]


def _free(budget: Budget) -> tuple[str, ...]:
    if budget.norm not in COUNTS:
        return ("control-noise", "control-flat")
    asks = ("control-keep-writing",) if budget.norm in GROWING else ()
    return ("control-random-edits", *asks)


def matched_controls(
    budget: Budget, target: Target, attacks: Sequence[Attack], results: Sequence[AttackResult]
) -> list[Attack]:
    """Return the controls that are matched to what ``attacks`` of this budget did to the same batch, and spent.

    What a text was learned with is spent on it. A perturbation of pixels that is learned once, for any number of
    inputs, spends nothing on one of them; random search is given one query then.
    """
    spent = torch.stack([result.candidates.forwards.cpu() for result in results])
    given: dict[str, dict[str, Any]] = {}
    for name in _matched(budget, by_chance=target.family.by_chance):
        if name == "control-shuffled":
            given[name] = {"perturbation": costliest(target, results)}
        elif name == "control-best-of-k":
            before = torch.tensor([attack.forwards_before for attack in attacks])
            given[name] = {"queries": (spent + before.unsqueeze(1)).amax(0)}
        else:
            given[name] = {"queries": spent.amax(0).clamp_min(1)}
    return [ATTACKS.find(name)(norm=budget.norm, eps=budget.eps, **more) for name, more in given.items()]


def _matched(budget: Budget, *, by_chance: bool) -> tuple[str, ...]:
    if budget.norm in COUNTS:
        return ("control-best-of-k",)
    return ("control-shuffled", "control-best-noise") if by_chance else ("control-shuffled",)


def control_ids(budget: Budget, *, by_chance: bool) -> tuple[str, ...]:
    """Return the names of all controls of a budget.

    Args:
        budget: of the attacks that they run with.
        by_chance: whether any change may change how many outputs the target has, so that random search may do so.

    >>> control_ids(Budget("Linf", 0.1), by_chance=False)
    ('control-noise', 'control-flat', 'control-shuffled')
    """
    return (*_free(budget), *_matched(budget, by_chance=by_chance))


def costliest(target: Target, results: Sequence[AttackResult]) -> Tensor:
    """Return, per sample, the perturbation ``[B, ...]`` of the costliest of several results."""
    held = Incumbent.begin(results[0].inputs - results[0].clean_inputs)
    rows = torch.arange(len(held.cost))
    for result in results:
        held.offer(rows, result.inputs - result.clean_inputs, target.attacker_cost(result.attacked))
    best: Tensor = held.inputs
    return best
