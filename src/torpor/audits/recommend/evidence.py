"""What is known of every choice of caps: from recorded work where that tells it, from runs where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torpor.audits.recommend.choices import CapChoice
from torpor.audits.recommend.limits import Floats
from torpor.core.batches import Samples, take
from torpor.core.errors import DataError
from torpor.core.work import Work
from torpor.data.sets import Batch
from torpor.defenses.guards.base import Guard
from torpor.metrics.headroom import SLACK
from torpor.targets.base import Target

CHECKED = 8
"""Inputs that each guard's replay is compared with a run on, at least."""
UTILITIES = ("own", "agreement")
"""How utility is measured: as the target does, or as the share of outputs that stay as they were without caps."""


@dataclass(eq=False)
class CapEvidence:
    """What is known of one choice of caps, one value per sample.

    Attributes:
        choice: the caps.
        own: cost of the natural inputs.
        utility: of their outputs.
        least: what an attacker gets at least: the costliest of the natural input and all that were crafted for it.
        most: what an attacker gets at most, as far as that is known; see :class:`CapRecords`.
        static: static bound of all these inputs, the natural and the crafted ones.
        bound: static bound of any input, infinite where that is unknown.
        through: the caps through which the costliest input was crafted; empty for the natural one.
        attacked: whether it was attacked itself, adaptively.
        costs: of the inputs crafted through each choice, by its name.
    """

    choice: CapChoice
    own: Floats
    utility: Floats
    least: Floats
    most: Floats
    static: Floats
    bound: float
    through: list[str]
    attacked: bool = False
    costs: dict[str, Floats] = field(default_factory=dict)

    def is_like(self, other: CapEvidence) -> bool:
        """Tell whether both do the same on every input that was confronted with both, and have the same bound."""
        pairs = [(self.own, other.own), (self.static, other.static), (self.utility, other.utility)]
        pairs += [(self.costs[name], other.costs[name]) for name in self.costs.keys() & other.costs.keys()]
        return all(np.array_equal(*pair) for pair in pairs)

    def take_in(self, name: str, costs: Floats, static: Floats) -> None:
        """Take note of what the inputs that were crafted through ``name`` cost."""
        self.costs[name] = costs
        better = costs > self.least
        self.through = [name if one else old for one, old in zip(better, self.through, strict=True)]
        self.least = np.maximum(self.least, costs)
        self.static = np.maximum(self.static, static)


@dataclass(frozen=True, eq=False)
class CraftedSet:
    """Inputs that were crafted through some caps.

    Attributes:
        name: of the caps.
        inputs: batch by batch.
        work: of each batch on the target without caps.
    """

    name: str
    inputs: Sequence[Samples]
    work: Sequence[Work]


class CapRecords:
    """Runs, and re-uses, what decides between choices of caps.

    Where a guard can be replayed (:meth:`Guard.replayed`), only inputs that it cuts are run, and only for their
    outputs; each guard's replay is compared with a run first, and given up where they differ.

    Args:
        target: without caps.
        batches: of the samples.
        utility: one of :data:`UTILITIES`.
        tell: called with a sentence on what must be known of the result.

    Raises:
        DataError: if there is nothing to measure utility by.
    """

    def __init__(
        self,
        target: Target,
        batches: Sequence[Batch],
        utility: str = "own",
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.target, self.batches, self.utility, self.tell = target, batches, utility, tell
        self.inputs = [target.space.snap(target.space.check(target.read(batch.inputs))) for batch in batches]
        self.clean = [target.run(inputs) for inputs in self.inputs]
        self.cost = _joined([target.prices.cost(outcome.work) for outcome in self.clean])
        self.runs = len(self.cost)
        self._clean_utility = [
            self._useful(target, outcome.outputs, number, slice(None)) for number, outcome in enumerate(self.clean)
        ]
        if torch.cat(self._clean_utility).isnan().any():
            raise DataError(
                f"expected references, by which {target.utility_name} of {target.name} is measured, got samples "
                "without any; pass data that have some, or --utility agreement, the share of outputs that stay the same"
            )
        self._checked: dict[str, bool] = {}

    def measured(self, choice: CapChoice) -> CapEvidence:
        """Return what natural inputs cost under these caps, and what their outputs are worth."""
        costs, utility = list[Tensor](), list[Tensor]()
        for number, (inputs, before) in enumerate(zip(self.inputs, self.clean, strict=True)):
            replayed = self._replayed(choice, inputs, before.work)
            cut = torch.ones(len(inputs), dtype=torch.bool)
            if replayed is not None:
                cut = replayed.counts.sum(1) != before.work.counts.sum(1)
            if choice.defense is None:
                cut[:] = False
            worth = self._clean_utility[number].clone()
            cost = (self.target if replayed is None else choice.target).prices.cost(
                before.work if replayed is None else replayed
            )
            if cut.any():
                outcome = choice.target.run(take(inputs, cut))
                self.runs += int(cut.sum())
                cost[cut] = choice.target.prices.cost(outcome.work)
                worth[cut] = self._useful(choice.target, outcome.outputs, number, cut)
            costs.append(cost)
            utility.append(worth)
        own, static = _joined(costs), self._static(choice, self.inputs)
        return CapEvidence(
            choice, own, _joined(utility), own.copy(), static.copy(), static, bound_of(choice.target), [""] * len(own)
        )

    def crafted(self, name: str, inputs: Sequence[Samples]) -> CraftedSet:
        """Run inputs that were crafted through the caps ``name`` on the target without caps."""
        self.runs += len(self.cost)
        return CraftedSet(name, inputs, [self.target.run(batch).work for batch in inputs])

    def confront(self, evidence: CapEvidence, crafted: CraftedSet) -> None:
        """Find out what crafted inputs cost under the caps of ``evidence``."""
        choice, costs = evidence.choice, []
        for inputs, work in zip(crafted.inputs, crafted.work, strict=True):
            found = work if choice.defense is None else self._replayed(choice, inputs, work)
            if found is None:
                found = choice.target.run(inputs).work
                self.runs += len(inputs)
            costs.append(choice.target.prices.cost(found))
        evidence.take_in(crafted.name, _joined(costs), self._static(choice, crafted.inputs))

    def _static(self, choice: CapChoice, inputs: Sequence[Samples]) -> Floats:
        return _joined([choice.target.prices.cost(choice.target.max_work(batch)) for batch in inputs])

    def _useful(self, target: Target, outputs: Samples, number: int, rows: Tensor | slice) -> Tensor:
        """Return the utility of the outputs of some rows of a batch, float64 ``[R]``."""
        known = self.clean[number].outputs if self.utility == "agreement" else self.batches[number].references
        if not len(known):
            return torch.full((len(outputs),), torch.nan, dtype=torch.float64)
        beside = known if isinstance(rows, slice) else take(known, rows)
        judge: Any = target.agreement if self.utility == "agreement" else target.utility
        found: Tensor = judge(outputs, beside)
        return found.to(torch.float64).cpu()

    def _replayed(self, choice: CapChoice, inputs: Samples, work: Work) -> Work | None:
        """Return the work under these caps, if it follows from ``work`` and a run has confirmed that it does."""
        guard = choice.defense
        if not isinstance(guard, Guard) or self._checked.get(guard.id) is False:
            return None
        found = guard.replayed(self.target, inputs, work)
        if found is None:
            return None
        cut = (found.counts.sum(1) != work.counts.sum(1)).nonzero().flatten()[:CHECKED]
        if guard.id not in self._checked and len(cut):
            ran = choice.target.run(take(inputs, cut)).work
            self.runs += len(cut)
            self._checked[guard.id] = ran.counts.equal(found.counts[cut])
            if not self._checked[guard.id]:
                self.tell(
                    f"The work under {guard.id} does not follow from recorded counts here, so it is run each time."
                )
                return None
        return found


def bounded_by(strict: CapEvidence, loose: CapEvidence) -> Floats | None:
    """Return what an attacker gets under ``strict`` caps at most if ``loose`` ones were attacked as well as can be.

    A cap that only cuts work short makes no input costlier, so what is most under looser caps is most under these; that
    is checked on every crafted input that was confronted with both.

    Returns:
        Costs ``[N]``; None if some input is costlier under the stricter caps, so that nothing follows.
    """
    if (strict.own > loose.own * (1 + SLACK)).any():
        return None
    for name in strict.costs.keys() & loose.costs.keys():
        if (strict.costs[name] > loose.costs[name] * (1 + SLACK)).any():
            return None
    return loose.least


def bound_of(target: Target) -> float:
    """Return what no input costs more than, in the target's currency; infinite where it does not say.

    >>> from torpor.targets.early_exit.toys import needle
    >>> bound_of(needle()) == float(needle().prices.cost(needle().static_work()))
    True
    """
    try:
        return float(target.prices.cost(target.static_work()).item())
    except DataError:
        return float("inf")


def _joined(parts: Sequence[Tensor]) -> Floats:
    found: Floats = torch.cat([part.cpu().to(torch.float64) for part in parts]).numpy()
    return found
