"""The contract of a bound: work that no input within a budget exceeds, proven rather than searched for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.budget import COUNTS, NORMS, Budget
from torpor.core.errors import UsageError
from torpor.core.threat import Paper
from torpor.core.work import Work
from torpor.targets.base import Target

SLACK = 1e-9
"""Relative difference that the order of a sum may make between two equal costs."""


@dataclass(frozen=True)
class Bound(ABC):
    """A proof of what inputs can cost at most; a configuration that knows no model.

    Subclasses write :meth:`work`. The call then caps it at the static bound, so that no bound is looser than that one,
    and refuses what is wrong at first sight: a bound below the work of the clean input itself.

    Attributes:
        id: what the command line calls it.
        paper: where it is from; None if it is no paper's.
        local: whether it depends on the input and its budget; else it is the same for all inputs.
        norms: budgets that it understands, counts of edits among them; patches only where a bound says so.
        covers_defended: whether it also holds of a defended target, whose layers may change what the target inside
            sees and have units of their own; audits ask only then for bounds of defended rows.
    """

    id: ClassVar[str]
    paper: ClassVar[Paper | None] = None
    local: ClassVar[bool] = True
    norms: ClassVar[tuple[str, ...]] = NORMS + COUNTS
    covers_defended: ClassVar[bool] = False

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        """Tell whether it can be computed for ``target``."""
        return True

    @abstractmethod
    def work(self, target: Any, inputs: Samples, budget: Budget | None) -> Work:  # noqa: ANN401
        """Return the most runs of each unit, ``[B, U]``; the one method that a bound writes.

        Args:
            target: it :meth:`applies_to` it.
            inputs: clean inputs, valid, on the target's device if they are tensors.
            budget: how far inputs may be from these, of a video each frame; None for any input at all that the target
                accepts.
        """

    @final
    def __call__(self, target: Target, inputs: Samples, budget: Budget | None) -> Work:
        """Return the most runs of each unit for each clean input, no more than the static bound.

        Raises:
            UsageError: if the bound does not apply, or is not one: some clean input costs more.
        """
        bound = self.unchecked(target, inputs, budget)
        refuse_exceeded(self.id, target, target.prices.cost(bound), target.prices.cost(target.run(inputs).work))
        return bound

    @final
    def unchecked(self, target: Target, inputs: Samples, budget: Budget | None) -> Work:
        """Return the same as a call, for callers that compare it with what they ran themselves.

        Raises:
            UsageError: if the bound does not apply, or counts other units.
        """
        self.check(target, budget)
        most = target.static_work().counts
        found = self.work(target, inputs, budget).counts.cpu()
        if found.shape != (len(inputs), len(target.units)):
            raise UsageError(
                f"expected work of {len(inputs)} inputs on {len(target.units)} units from the bound {self.id}, got "
                f"{list(found.shape)}; fix it"
            )
        return Work(torch.minimum(found, most.cpu()))

    def check(self, target: Target, budget: Budget | None = None) -> None:
        """Refuse targets that this bound does not apply to, and budgets that it does not understand.

        Raises:
            UsageError: if so.
        """
        if not self.applies_to(target):
            raise UsageError(
                f"expected a bound for {target.mechanism} with {target.space.kind} inputs, got {self.id}; "
                "see: torpor list bounds"
            )
        if self.local and budget is not None and budget.norm not in self.norms:
            raise UsageError(
                f"expected norm {', '.join(self.norms)} with the bound {self.id}, got {budget.norm}; leave it out"
            )


def refuse_exceeded(name: str, target: Target, bound: Tensor, cost: Tensor) -> None:
    """Refuse a bound that some input exceeds: it is wrong, whatever it was proven from.

    Args:
        name: of the bound.
        target: that ran.
        bound: cost that no input should exceed, ``[B]``.
        cost: of inputs that it is a bound of, ``[B]``.

    Raises:
        UsageError: if one does.
    """
    over = cost > bound * (1 + SLACK)
    if over.any():
        row = int(over.nonzero()[0])
        raise UsageError(
            f"expected no input of {target.name} to cost more than the bound {name} allows, got {cost[row]:,.12g} over "
            f"{bound[row]:,.12g} {target.prices.currency}; the bound is wrong: fix it, or leave it out"
        )
