"""Quotas of work: what runs may cost together, in FLOPs and decoder steps."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any, NoReturn, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.signals import Signals
from torpor.core.work import Outcome, Work
from torpor.defenses.layer import Layer
from torpor.defenses.wrapped import Wrapped
from torpor.serving.affordable import affordable, bound_of, steps_of
from torpor.serving.ledger import Ledger, QuotaError, cost_of, limit_of
from torpor.serving.this_process import is_worker, this_process
from torpor.targets.base import Target

Cost = tuple[Fraction, Fraction]
"""FLOPs and decoder steps."""


_open: dict[Quota, int] = {}  # how often each is entered
_lock = threading.RLock()  # reentrant: a generator that is collected while it is held may close a quota


class Quota:
    """What metered targets may cost together, in the ``with`` blocks of the quota.

    While a quota is open, every metered run of the process counts against it, in whichever thread or task; of
    several that are open, each counts. A block may be entered again, also while it is open: the quota is the same.
    ``metered(target, quota)`` counts that target's runs always, and no others: so each of many clients has one.

    Before a run its static bound is booked, and what it did not cost is given back after it: runs at the same time
    never exceed a quota together, and a run that fails or is cancelled has spent its bound, since it is unknown what
    it did. If the bound is more than what is left, the target runs with smaller caps, as far as it has some: outputs
    end sooner, samples leave at an earlier exit, fewer boxes are kept.

    A quota belongs to the process that made it. Copies are the quota itself; it cannot be pickled, and in other
    processes metered runs are refused unless a quota of their own is open there.

    Args:
        flops: at most; None for no limit.
        steps: decoder steps at most; None for no limit.

    Raises:
        UsageError: if a limit is not a finite number above 0.

    >>> import torch
    >>> from torpor.targets.decoder.toy_steps import PeakTarget
    >>> target = metered(PeakTarget(cap=40))
    >>> with Quota(steps=45) as spent:
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
        raise UsageError("expected a quota to stay in its process, got one to be pickled; make one in each process")

    def _check_home(self) -> None:
        if self._home != this_process():
            raise QuotaError(
                "expected runs in the process that made their quota, got one in another process, which would spend "
                "the same quota again; open a quota of its own in each process"
            )

    def _fits(self, cost: Cost) -> bool:
        return self._flops.fits(cost[0]) and self._steps.fits(cost[1])

    def _book(self, cost: Cost) -> None:
        self._flops.book(cost[0])
        self._steps.book(cost[1])


class Metered(Layer):
    """The layer that asks the open quotas.

    Args:
        quotas: that are asked whether they are open or not.
    """

    units = ()

    def __init__(self, quotas: Sequence[Quota] = ()) -> None:
        self.quotas = tuple(quotas)
        self._home = this_process()

    def run(self, inner: Target, inputs: Samples) -> Outcome:
        """See :meth:`Layer.run`.

        Raises:
            QuotaError: if too little is left, or the quotas are those of another process.
        """
        quotas = self._asked()
        smaller, booked = _admit(inner, inputs, quotas)
        outcome = smaller.run(inputs)
        flops = smaller.prices.cost(outcome.work).sum().item()
        _settle(quotas, booked, (cost_of("FLOPs", flops), cost_of("steps", steps_of(smaller, outcome.work))))
        return outcome

    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """See :meth:`Layer.signals`; every unit is evaluated, so the static bound is charged.

        Raises:
            QuotaError: if too little is left.
        """
        if _book_if_it_fits(inner, inputs, self._asked()) is None:
            raise QuotaError(
                f"expected the static bound of {inner.name} to be left for its signals, {bound_of(inner, inputs):g} "
                "FLOPs, got less; send less, or raise the quota"
            )
        return inner.signals(inputs)

    @override
    def max_work(self, inner: Target, inputs: Samples) -> Work:
        return inner.max_work(inputs)

    @override
    def fingerprint(self) -> str:
        return "metered"

    def _asked(self) -> list[Quota]:
        with _lock:
            quotas = list(dict.fromkeys((*self.quotas, *_open)))
        for quota in quotas:
            quota._check_home()
        if not quotas and (is_worker() or self._home != this_process()):
            raise QuotaError(
                "expected a quota of this process around a metered run, got none: those of other processes are not "
                "seen here; open one in each process"
            )
        return quotas


def _admit(target: Target, inputs: Samples, quotas: Sequence[Quota]) -> tuple[Target, Cost]:
    """Return ``target`` with caps that every quota affords, and its static bound, which is booked."""
    asked = None
    while True:
        with _lock:
            left = tuple(
                min((getattr(quota, name) for quota in quotas), default=math.inf)
                for name in ("flops_left", "steps_left")
            )
        smaller = None if left == asked else affordable(target, inputs, *left)
        if smaller is None:
            raise QuotaError(
                f"expected a run of {target.name} within {left[0]:g} FLOPs and {left[1]:g} steps, got no cap that is "
                "small enough; send less, or raise the quota"
            )
        booked = _book_if_it_fits(smaller, inputs, quotas)
        if booked is not None:
            return smaller, booked
        asked = left  # another run was faster; if none was, it was rounding, and it will not fit


def _book_if_it_fits(target: Target, inputs: Samples, quotas: Sequence[Quota]) -> Cost | None:
    bound = target.max_work(inputs)
    flops = cost_of("FLOPs", target.prices.cost(bound).sum().item())
    cost = (flops, cost_of("steps", steps_of(target, bound)))
    with _lock:
        if not all(quota._fits(cost) for quota in quotas):
            return None
        for quota in quotas:
            quota._book(cost)
    return cost


def _settle(quotas: Sequence[Quota], booked: Cost, cost: Cost) -> None:
    """Give back what was booked and not spent; a run that broke its static bound is charged in full."""
    with _lock:
        for quota in quotas:
            quota._book((cost[0] - booked[0], cost[1] - booked[1]))


def metered(target: Target, *quotas: Quota) -> Wrapped:
    """Return ``target``, charging what it runs to the quotas that are open, and always to ``quotas``."""
    if isinstance(target, Wrapped) and isinstance(target.layer, Metered):  # one run is charged once
        quotas = tuple(dict.fromkeys((*target.layer.quotas, *quotas)))
        target = target.inner
    return Wrapped(target, Metered(quotas), target.name)


def _forked() -> None:
    global _lock
    _lock = threading.RLock()  # who held it is not there


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
