"""Budgets of work: what runs may cost together, in FLOPs and decoder steps."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any, NoReturn, Self

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.outcome import Outcome
from torpor.core.signals import Signals
from torpor.core.work import Work
from torpor.defenses.affordable import affordable, bound_of, steps_of
from torpor.defenses.client_budgets import ClientBudgets as ClientBudgets
from torpor.defenses.client_budgets import WorkBudget as WorkBudget
from torpor.defenses.ledger import BudgetError as BudgetError
from torpor.defenses.ledger import Ledger, cost_of, limit_of
from torpor.defenses.this_process import is_worker, this_process
from torpor.defenses.wrapped import Layer, Wrapped, wrap
from torpor.targets.base import Target

Cost = tuple[Fraction, Fraction]
"""FLOPs and decoder steps."""


_open: dict[Budget, int] = {}  # how often each is entered
_lock = threading.RLock()  # reentrant: a generator that is collected while it is held may close a budget


class Budget:
    """What metered targets may cost together, in the ``with`` blocks of the budget.

    While a budget is open, every metered run of the process counts against it, in whichever thread or task; of
    several that are open, each counts. A block may be entered again, also while it is open: the budget is the same.
    ``metered(target, budget)`` counts that target's runs always, and nobody else's: so each of many clients has one.

    Before a run its static bound is booked, and what it did not cost is given back behind it: runs at the same time
    never exceed a budget together, and a run that fails or is cancelled has spent its bound, since nobody knows what
    it did. If the bound is more than what is left, the target runs with smaller caps, as far as it has some: outputs
    end sooner, samples leave at an earlier exit, fewer boxes are kept.

    A budget belongs to the process that made it. Copies are the budget itself; it cannot be pickled, and in other
    processes metered runs are refused unless a budget of their own is open there.

    Args:
        flops: at most; None for no limit.
        steps: decoder steps at most; None for no limit.

    Raises:
        UsageError: if a limit is not a finite number above 0.

    >>> import torch
    >>> from torpor.targets.toy_steps import PeakTarget
    >>> target = metered(PeakTarget(cap=40))
    >>> with Budget(steps=45) as spent:
    ...     outcomes = [target.run(torch.full((1, 1, 4, 4), 0.5)) for _ in range(2)]
    >>> [len(outcome.outputs[0].ids) for outcome in outcomes], spent.spent_steps
    ([31, 14], 45)
    """

    def __init__(self, *, flops: float | None = None, steps: int | None = None) -> None:
        self._flops = Ledger(limit_of("FLOPs", flops))
        self._steps = Ledger(limit_of("steps", steps, whole=True))
        self._home = this_process()

    @property
    def flops(self) -> float | None:
        """FLOPs at most; None without a limit."""
        return self._flops.limit

    @property
    def steps(self) -> int | None:
        """Decoder steps at most; None without a limit."""
        return None if self._steps.limit is None else int(self._steps.limit)

    @property
    def spent_flops(self) -> float:
        """FLOPs that were spent, runs that are under way at their static bound."""
        return float(self._flops.spent)

    @property
    def spent_steps(self) -> int:
        """Decoder steps, likewise."""
        return int(self._steps.spent)

    @property
    def flops_left(self) -> float:
        """FLOPs that are left; infinite without a limit."""
        return self._flops.left

    @property
    def steps_left(self) -> float:
        """Decoder steps that are left; infinite without a limit."""
        return self._steps.left

    def __enter__(self) -> Self:
        self._check_home()
        with _lock:
            _open[self] = _open.get(self, 0) + 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            times = _open.pop(self, 0)
            if times > 1:
                _open[self] = times - 1

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise UsageError("expected a budget to stay in its process, got one to be pickled; make one in each process")

    def _check_home(self) -> None:
        if self._home != this_process():
            raise BudgetError(
                "expected runs in the process that made their budget, got one in another process, which would spend "
                "the same budget again; open a budget of its own in each process"
            )

    def _fits(self, cost: Cost) -> bool:
        return self._flops.fits(cost[0]) and self._steps.fits(cost[1])

    def _book(self, cost: Cost) -> None:
        self._flops.book(cost[0])
        self._steps.book(cost[1])


class Metered(Layer):
    """The layer that asks the open budgets.

    Args:
        budgets: that are asked whether they are open or not.
    """

    units = ()

    def __init__(self, budgets: Sequence[Budget] = ()) -> None:
        self.budgets = tuple(budgets)
        self._home = this_process()

    def run(self, inner: Target, inputs: Samples) -> Outcome:
        """See :meth:`Layer.run`.

        Raises:
            BudgetError: if too little is left, or the budgets are those of another process.
        """
        budgets = self._asked()
        smaller, booked = _admit(inner, inputs, budgets)
        outcome = smaller.run(inputs)
        flops = smaller.prices.cost(outcome.work).sum().item()
        _settle(budgets, booked, (cost_of("FLOPs", flops), cost_of("steps", steps_of(smaller, outcome.work))))
        return outcome

    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """See :meth:`Layer.signals`; every unit is evaluated, so the static bound is charged.

        Raises:
            BudgetError: if too little is left.
        """
        if _book_if_it_fits(inner, inputs, self._asked()) is None:
            raise BudgetError(
                f"expected the static bound of {inner.name} to be left for its signals, {bound_of(inner, inputs):g} "
                "FLOPs, got less; send less, or raise the budget"
            )
        return inner.signals(inputs)

    def max_work(self, inner: Target, inputs: Samples) -> Work:
        """See :meth:`Layer.max_work`."""
        return inner.max_work(inputs)

    def fingerprint(self) -> str:
        """See :meth:`Layer.fingerprint`."""
        return "metered"

    def _asked(self) -> list[Budget]:
        with _lock:
            budgets = list(dict.fromkeys((*self.budgets, *_open)))
        for budget in budgets:
            budget._check_home()
        if not budgets and (is_worker() or self._home != this_process()):
            raise BudgetError(
                "expected a budget of this process around a metered run, got none: those of other processes are not "
                "seen here; open one in each process"
            )
        return budgets


def _admit(target: Target, inputs: Samples, budgets: Sequence[Budget]) -> tuple[Target, Cost]:
    """Return ``target`` with caps that every budget affords, and its static bound, which is booked."""
    asked = None
    while True:
        with _lock:
            left = tuple(
                min((getattr(budget, name) for budget in budgets), default=math.inf)
                for name in ("flops_left", "steps_left")
            )
        smaller = None if left == asked else affordable(target, inputs, *left)
        if smaller is None:
            raise BudgetError(
                f"expected a run of {target.name} within {left[0]:g} FLOPs and {left[1]:g} steps, got no cap that is "
                "small enough; send less, or raise the budget"
            )
        booked = _book_if_it_fits(smaller, inputs, budgets)
        if booked is not None:
            return smaller, booked
        asked = left  # others were faster; where nobody was, it was rounding, and it will not fit


def _book_if_it_fits(target: Target, inputs: Samples, budgets: Sequence[Budget]) -> Cost | None:
    bound = target.max_work(inputs)
    flops = cost_of("FLOPs", target.prices.cost(bound).sum().item())
    cost = (flops, cost_of("steps", steps_of(target, bound)))
    with _lock:
        if not all(budget._fits(cost) for budget in budgets):
            return None
        for budget in budgets:
            budget._book(cost)
    return cost


def _settle(budgets: Sequence[Budget], booked: Cost, cost: Cost) -> None:
    """Give back what was booked and not spent; a run that broke its static bound is charged in full."""
    with _lock:
        for budget in budgets:
            budget._book((cost[0] - booked[0], cost[1] - booked[1]))


def metered(target: Target, *budgets: Budget) -> Wrapped:
    """Return ``target``, charging what it runs to the budgets that are open, and always to ``budgets``."""
    if isinstance(target, Wrapped) and isinstance(target.layer, Metered):  # one run is charged once
        budgets = tuple(dict.fromkeys((*target.layer.budgets, *budgets)))
        target = target.inner
    return wrap(target, Metered(budgets), target.name)


def _forked() -> None:
    global _lock
    _lock = threading.RLock()  # who held it is not there


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
