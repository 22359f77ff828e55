"""What an attack on a batch found, verified on the hard target; and the costlier of several results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from torpor.attacks.search.incumbent import Candidates, Curve, rising
from torpor.core.batches import Samples, choose
from torpor.core.criteria import Evidence
from torpor.core.lazy import Renamed
from torpor.core.work import Outcome, Work
from torpor.targets.base import Target


@dataclass(frozen=True, eq=False)
class AttackResult:
    """A verified attack on a batch.

    Attributes:
        clean_inputs: the inputs as files hold them (8-bit pixels, 16-bit sound, texts).
        inputs: the attacked inputs, valid and within budget; the clean input where none was costlier.
        clean: outputs and work of the hard target on the clean inputs.
        attacked: outputs and work of the hard target on the attacked inputs.
        static: the static bound of each sample; where it depends on the input, such as on a prompt's length, the larger
            one of the clean and the attacked input, unit by unit.
        budget_used: share of the budget that each candidate spent, whether it was kept or not, ``[B]``.
        candidates: what the search returned, and what it spent.
        seconds: wall-clock of the search.
        curves: where the best so far became costlier than the clean input, of each sample, up to what was verified;
            None for inputs that were not searched on this target.
    """

    clean_inputs: Samples
    inputs: Samples
    clean: Outcome
    attacked: Outcome
    static: Work
    budget_used: Tensor
    candidates: Candidates
    seconds: float
    curves: Sequence[Curve] | None = None

    moved = Renamed("budget_used")

    def evidence(self, target: Target) -> Evidence:
        """Return what a :class:`~torpor.core.criteria.Criterion` judges, priced in FLOPs."""
        return Evidence(
            cost=target.prices.cost(self.attacked.work).numpy(),
            clean=target.prices.cost(self.clean.work).numpy(),
            static=target.prices.cost(self.static).numpy(),
            agrees=target.agreement(self.attacked.outputs, self.clean.outputs).numpy(),
        )


def verified(found: Candidates, clean: list[float], cost: list[float]) -> list[Curve]:
    """Return the curve of each sample from its clean cost to the cost that was verified.

    What was spent by each of its points is known where each pass was billed.
    """
    passes = (found.forwards.cpu() + found.backwards.cpu()).tolist()
    curves = [()] * len(passes) if found.curves is None else found.curves
    risen: list[Curve] = [rising(*sample) for sample in zip(curves, clean, cost, passes, strict=True)]
    if found.bills is None:
        return risen
    known = zip(risen, found.bills, passes, strict=True)
    return [_billed(curve, bills) if len(bills) == count else curve for curve, bills, count in known]


def _billed(curve: Curve, bills: Sequence[float]) -> Curve:
    """Return a curve that says what was spent by each of its points; ``bills`` are of each pass."""
    spent = [0.0, *accumulate(bills)]
    return [point._replace(spent=spent[min(point.passes, len(bills))]) for point in curve]


def transfer(result: AttackResult, target: Target) -> AttackResult:
    """Send inputs that were crafted for one target to another, as a non-adaptive attacker does to a defended target.

    The attacker cannot check whether they work there, so all of them are sent and all of them count.
    """
    bounds = [target.max_work(inputs).counts for inputs in (result.clean_inputs, result.inputs)]
    return replace(
        result,
        attacked=target.reseeded().run(result.inputs),
        static=Work(torch.maximum(*bounds)),
        seconds=0.0,
        curves=None,
    )


def costlier(target: Target, found: AttackResult, known: AttackResult) -> AttackResult:
    """Return, for each sample, the one of two results that costs more by :meth:`Target.attacker_cost`.

    An attacker who knows of a defense can still send what was crafted without it.
    """
    return merged(found, known, target.attacker_cost(known.attacked) > target.attacker_cost(found.attacked))


def merged(found: AttackResult, known: AttackResult, better: Tensor) -> AttackResult:
    """Return ``found`` with the inputs of ``known`` where ``better``, bool ``[B]``; effort stays that of ``found``."""
    one, other = known.attacked, found.attacked
    return replace(
        found,
        inputs=choose(better, known.inputs, found.inputs),
        attacked=Outcome(
            choose(better, one.outputs, other.outputs),
            Work(choose(better, one.work.counts, other.work.counts)),
            None if one.rejected is None or other.rejected is None else choose(better, one.rejected, other.rejected),
        ),
        static=Work(choose(better, known.static.counts, found.static.counts)),
        budget_used=choose(better, known.budget_used, found.budget_used),
    )
