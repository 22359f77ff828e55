"""Attack one batch in every way that an audit plans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, permutations
from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.registry import free_controls, matched_controls
from torpor.attacks.result import costlier, merged, transfer
from torpor.audits.conditions import ADAPTIVE, NON_ADAPTIVE, Condition, RowKey
from torpor.audits.plan import Plan
from torpor.audits.run.fronts import Front
from torpor.audits.run.limits import Spent
from torpor.audits.run.rows import Clean, attacked_rows, clean_rows, pick_examples
from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.work import Outcome
from torpor.data.sets import Batch
from torpor.targets.base import Target
from torpor.targets.family import Ran

if TYPE_CHECKING:
    from torpor.audits.run.requests import Allotment
    from torpor.audits.run.slices import Slices

Tables = dict[RowKey, pa.Table]


class Costliest:
    """The costliest inputs that are known for a target, from any search.

    An attack may find through a guard, which only lowers caps, what it misses without one. Such an input is within the
    same budget and can be sent to the undefended target too, so the undefended figure may not be below it. Nor may that
    of a larger budget be below that of a smaller one.

    Args:
        target: that is attacked.
        own: what the attack found there.

    Attributes:
        own: the same; what an attacker has who knows of no defense.
        result: the costlier of ``own`` and all that was offered, per sample.
        through: for each sample of ``result`` the defense through which its input was crafted; None for ``own``.
    """

    def __init__(self, target: Target, own: AttackResult) -> None:
        self.target, self.own, self.result = target, own, own
        self.through: list[str | None] = [None] * len(own.budget_used)

    def offer(self, crafted: AttackResult, defense: str) -> None:
        """Run what was crafted through ``defense`` on the undefended target, and keep what costs more there."""
        sent = transfer(crafted, self.target)
        costs = [self.target.attacker_cost(each.attacked) for each in (sent, self.result)]
        better = (costs[0] > costs[1]).cpu() & _different(crafted.inputs, self.own.clean_inputs)
        if not better.any():
            return
        self.result = merged(self.result, sent, better)
        self.through = [defense if one else name for one, name in zip(better.tolist(), self.through, strict=True)]

    def widen(self, smaller: Costliest) -> None:
        """Keep what was found within a smaller budget, and so within this one, where it costs more.

        What the search within this budget spent stays its own.
        """
        costs = [self.target.attacker_cost(each.attacked) for each in (smaller.result, self.result)]
        better = (costs[0] > costs[1]).cpu()
        result = merged(self.result, smaller.result, better)
        self.result = replace(result, budget_used=self.result.budget_used)
        places = zip(better.tolist(), smaller.through, self.through, strict=True)
        self.through = [other if one else name for one, other, name in places]


Found = dict[tuple[str, Budget], Costliest]
"""What attacks and controls found, by their names and budgets."""


def _widen(found: Found) -> None:
    """Count what was found within a budget within those that contain it, too."""
    for (name, budget), (other, smaller) in permutations(found, 2):
        if name == other and budget.contains(smaller):
            found[name, budget].widen(found[name, smaller])


def _different(inputs: Samples, others: Samples) -> Tensor:
    """Return which samples are not the same, bool ``[B]``."""
    if isinstance(inputs, Tensor) and isinstance(others, Tensor):
        return (inputs != others.to(inputs.device)).flatten(1).any(1).cpu()
    return torch.tensor([one != other for one, other in zip(inputs, others, strict=True)])


@dataclass(eq=False)
class Attacked:
    """What was found on one batch.

    Attributes:
        tables: records of each row.
        examples: ``"SLUG/FIELD"`` to a tensor, or a tuple of texts.
        seconds: what the attack of each row took, by its slug.
        spent: forward passes and cost of all attacks so far.
    """

    tables: Tables = field(default_factory=dict)
    examples: dict[str, Samples] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)


def attack_batch(
    plan: Plan,
    fronts: Sequence[Front],
    batch: Batch,
    tell: Callable[[str, int], None] = lambda text, row: None,
    check: Callable[[Spent], None] = lambda spent: None,
    until: float | None = None,
    each: Allotment | None = None,
) -> Attacked:
    """Attack one batch in every way.

    Args:
        plan: of the audit.
        fronts: the undefended target, then one with each defense.
        batch: to be attacked.
        tell: called with the row that is attacked, and how many of this batch are done.
        check: called between attacks with what the batch has taken so far; may raise.
        until: when the batch's one sample should be done, in seconds since the epoch; its searches share what is left.
        each: what its searches may ask of a target elsewhere, which they share.
    """
    free, *defended = fronts
    inputs = free.target.space.check(free.target.read(batch.inputs))
    slices = _slices(until, fronts, inputs, each)
    clean = Clean(free.target, batch, inputs, (free.target if slices is None else slices.on(free.target)).run(inputs))
    references = batch.references if len(batch.references) else None
    own: dict[str, Outcome] = {front.defense: front.target.run(inputs) for front in defended}
    own[free.defense] = clean.outcome
    certified = _bounded(plan, fronts, inputs)  # first, so that a bound that fails wastes no attack
    here = Condition(tampering=free.target.tampering)
    first = RowKey("clean", None, here)
    done = Attacked({first: clean_rows(clean, free.target, first, clean.outcome)})
    seen: dict[str, Ran[Target]] = {}  # the clean inputs as attacks see them, of each defense
    begun = count()  # rows in the order of the plan; attacks are kept last, so those kept tell nothing of how far it is

    def keep(front: Front, key: RowKey, result: AttackResult, through: Sequence[str | None] = ()) -> None:
        before = seen.setdefault(front.defense, Ran(front.target, result.clean_inputs, own[front.defense]))
        done.tables[key] = attacked_rows(clean, before, key, result, through)
        found = pick_examples(clean, front.target, result)
        done.examples.update({f"{key.slug}/{name}": value for name, value in found.items()})
        done.seconds[key.slug] = result.seconds

    def attack(front: Front, one: Attack, attacker: str | None = None) -> AttackResult:
        tell(RowKey(one.name, one.budget, Condition(front.defense, here.tampering, attacker)).slug, next(begun))
        limit = None if slices is None else slices.next(one, front.target)
        result = one(front.target, inputs, references=references, seed=plan.seed, deadline=limit)
        done.spent += Spent.on(front.target, inputs, result.candidates)
        check(done.spent)
        return result

    best: Found = {}
    for budget, wanted in free.attacks:
        results = [attack(free, one) for one in wanted]
        for one, found in zip(wanted, results, strict=True):
            best[one.name, budget] = Costliest(free.target, found)
        for control in (*free_controls(budget), *matched_controls(budget, free.target, wanted, results)):
            best[control.name, budget] = Costliest(free.target, attack(free, control))
    for front in defended:
        clean_key = RowKey("clean", None, Condition(front.defense, here.tampering))
        tell(f"clean defended by {front.defense}", next(begun))
        done.tables[clean_key] = clean_rows(clean, front.target, clean_key, own[front.defense])
        done.seconds[clean_key.slug] = 0.0
        through: Found = {}
        for one in front.every:
            next(begun)
            sent = transfer(best[one.name, one.budget].own, front.target)
            keep(front, RowKey(one.name, one.budget, Condition(front.defense, here.tampering, NON_ADAPTIVE)), sent)
            crafted = costlier(front.target, attack(front, one, ADAPTIVE), sent)
            through[one.name, one.budget] = Costliest(front.target, crafted)
        _widen(through)
        for (name, budget), known in through.items():
            keep(front, RowKey(name, budget, Condition(front.defense, here.tampering, ADAPTIVE)), known.result)
            best[name, budget].offer(known.result, front.defense)
    _widen(best)
    for (name, budget), known in best.items():
        keep(free, RowKey(name, budget, here), known.result, known.through)
    done.tables = certified(done.tables)
    return done


def _slices(until: float | None, fronts: Sequence[Front], inputs: Samples, each: Allotment | None) -> Slices | None:
    target, queries, billed = fronts[0].target, None, False
    if each is not None:
        queries = each.within(float(target.prices.cost(target.max_work(inputs)).sum()))
        billed = each.billed
    if until is None and queries is None and not billed:
        return None
    from torpor.audits.run.slices import Slices, shares

    return Slices(math.inf if until is None else until, shares(fronts), queries)


def _bounded(plan: Plan, fronts: Sequence[Front], inputs: Samples) -> Callable[[Tables], Tables]:
    """Return what adds to the records of a batch what the plan's bounds certify of it; nothing without bounds."""
    if not plan.bounds:
        return lambda tables: tables
    from torpor.audits.run.certify import certificates, certified

    return partial(certified, certificates(plan, fronts, inputs))
