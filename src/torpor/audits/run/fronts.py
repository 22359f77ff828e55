"""A target as an audit meets it, undefended or defended, and the attacks that are fitted on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor.attacks.base import Attack
from torpor.audits.conditions import ADAPTIVE, Condition, RowKey
from torpor.audits.plan import Plan
from torpor.audits.run.store import Store
from torpor.core.budget import Budget
from torpor.core.errors import DefenseError, TorporError, UsageError
from torpor.data.sets import DataSet
from torpor.targets.base import Target

if TYPE_CHECKING:
    from torpor.defenses.base import Defense

TRIED = 64
"""Inputs that what was learned is tried on."""


@dataclass(frozen=True, eq=False)
class Front:
    """A target as the audit meets it, undefended or defended, and the attacks on it.

    Attributes:
        target: what is attacked.
        attacks: those of each budget, fitted on this target.
        defense: its name.
    """

    target: Target
    attacks: list[tuple[Budget, list[Attack]]]
    defense: str = "none"

    @property
    def every(self) -> list[Attack]:
        """The attacks of all budgets."""
        return [attack for _, attacks in self.attacks for attack in attacks]


def check_applies(plan: Plan, target: Target) -> None:
    """Refuse a target that is none of its family, and a plan whose attacks, defenses or bounds do not apply to it.

    Raises:
        UsageError: if so.
    """
    target.family.check(target)
    for budget in plan.budgets:
        for attack in plan.attacks_at(budget):
            attack.check(target)
    for bound in plan.loaded_bounds():
        for budget in plan.budgets:
            bound.check(target, budget)
    defenses = plan.loaded_defenses()
    for defense in defenses:
        defense.check(target)
    names = [defense.name for defense in defenses]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"expected different defenses, got {twice[0]} twice; leave one out")


def fronts(
    plan: Plan, target: Target, data: DataSet, store: Store, tell: Callable[[str], None] = lambda text: None
) -> list[Front]:
    """Return the undefended target, then one with each defense, with all that must learn fitted.

    What was learned is kept in the folder of the audit, and nothing that lies there is fitted again.

    Args:
        plan: of the audit.
        target: without any defense.
        data: to learn from.
        store: of the audit.
        tell: called with what is being fitted.

    Raises:
        DataError: if a split to learn from cannot be read.
        DefenseError: if a defense cannot be fitted.
    """
    free = Front(target, [(budget, _fitted(plan, target, data, store, budget)) for budget in plan.budgets])
    found = [free]
    for name, defense in zip(plan.defenses, plan.loaded_defenses(), strict=True):
        tell(f"fitting {name}")
        defended = _prepared(plan, defense, name, free, data, store).defend(target)
        attacks = [(budget, _fitted(plan, defended, data, store, budget, name)) for budget in plan.budgets]
        found.append(Front(defended, attacks, name))
    if plan.defenses:
        from torpor.defenses.detectors.pairs import training_pairs

        training_pairs.cache_clear()  # or they would live as long as the process
    return found


def _prepared(plan: Plan, defense: Defense, name: str, free: Front, data: DataSet, store: Store) -> Defense:
    """Return a defense with what it must learn: attackers know of it, and it knows of them."""
    from torpor.audits.run.fitted import restored, store_state
    from torpor.defenses.base import LEARNED

    slug = f"defense-{name.replace(':', '.')}"
    if (known := restored(defense, store, slug)) is not None:
        return known
    begin = time.perf_counter()
    try:
        prepared = defense.prepared(free.target, data, free.every, plan.seed, plan.limit or LEARNED)
    except TorporError as error:
        raise DefenseError(name, str(error)) from error
    store_state(prepared, store, slug, time.perf_counter() - begin)
    return prepared


def _fitted(
    plan: Plan, target: Target, data: DataSet, store: Store, budget: Budget, defense: str = "none"
) -> list[Attack]:
    """Return the plan's attacks at one budget; those that learn are fitted on validation data, once per audit."""
    attacks = []
    for attack in plan.attacks_at(budget):
        if not attack.learns:
            attacks.append(attack)
            continue
        from torpor.audits.run.fitted import restored, store_state

        attacker = None if defense == "none" else ADAPTIVE
        key = RowKey(attack.name, budget, Condition(defense, target.tampering, attacker))
        fitted = restored(attack, store, key.slug)
        if fitted is None:
            begin = time.perf_counter()
            fitted = attack.fitted(target, data, plan.seed)
            seconds = time.perf_counter() - begin
            store_state(fitted, store, key.slug, seconds, _raises(fitted, target, data, plan.seed))
        attacks.append(fitted)
    return attacks


def _raises(attack: Attack, target: Target, data: DataSet, seed: int) -> bool | None:
    """Tell whether what was learned raises the cost of any of the first inputs that it was learned from.

    Returns:
        None where the attack does not learn from inputs, and trying it would be an attack of its own.
    """
    if not attack.learns_from_data:
        return None
    from torpor.attacks.universal import to_learn_from

    inputs, references = to_learn_from(target, data, TRIED)
    found = attack(target, inputs, references=references if len(references) else None, seed=seed)
    before, after = (target.prices.cost(each.work) for each in (found.clean, found.attacked))
    return bool((after > before).any())
