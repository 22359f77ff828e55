"""Work budgets: what a client's requests may cost together, in FLOPs instead of in requests."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from torpor.core.batches import Samples
from torpor.core.errors import TorporError, UsageError
from torpor.core.outcome import Outcome
from torpor.core.signals import Signals
from torpor.core.work import Work
from torpor.defenses.affordable import affordable, bound_of, smallest, steps_of
from torpor.defenses.wrapped import Layer, Wrapped, wrap
from torpor.targets.base import Target

Clock = Callable[[], float]
"""Tells seconds that never run backward."""


class BudgetError(TorporError):
    """A budget does not allow a run, not even of the target with its smallest caps. Nothing was computed.

    Attributes:
        retry_after_s: when it will; None if it never will.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


_OPEN: ContextVar[tuple[Budget, ...]] = ContextVar("open budgets", default=())


class Budget:
    """What the metered targets in a ``with`` block may cost together; budgets nest, and each counts.

    Before a run its static bound is compared with what is left; a budget is for one thread, and sets nothing aside. If
    the bound is more, the target runs with smaller caps, as far as it has some: outputs end sooner, samples leave at an
    earlier exit, fewer boxes are kept.

    Args:
        flops: at most; None for no limit.
        steps: decoder steps at most; None for no limit.

    Attributes:
        spent_flops: by runs so far.
        spent_steps: likewise.

    >>> import torch
    >>> from torpor.targets.toy_steps import PeakTarget
    >>> target = metered(PeakTarget(cap=40))
    >>> with Budget(steps=45) as spent:
    ...     outcomes = [target.run(torch.full((1, 1, 4, 4), 0.5)) for _ in range(2)]
    >>> [len(outcome.outputs[0].ids) for outcome in outcomes], spent.spent_steps
    ([31, 14], 45)
    """

    def __init__(self, *, flops: float | None = None, steps: int | None = None) -> None:
        for name, limit in (("FLOPs", flops), ("steps", steps)):
            if limit is not None and not limit > 0:
                raise UsageError(f"expected a budget of more than 0 {name}, got {limit}")
        self.flops, self.steps = flops, steps
        self.spent_flops, self.spent_steps = 0.0, 0

    @property
    def flops_left(self) -> float:
        """FLOPs that are left; infinite without a limit."""
        return float("inf") if self.flops is None else self.flops - self.spent_flops

    @property
    def steps_left(self) -> float:
        """Decoder steps that are left; infinite without a limit."""
        return float("inf") if self.steps is None else self.steps - self.spent_steps

    def __enter__(self) -> Self:
        _OPEN.set((*_OPEN.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _OPEN.set(tuple(budget for budget in _OPEN.get() if budget is not self))


class Metered(Layer):
    """The layer that asks the open budgets."""

    units = ()

    def run(self, inner: Target, inputs: Samples) -> Outcome:
        """See :meth:`Layer.run`.

        Raises:
            BudgetError: if too little is left.
        """
        budgets = _OPEN.get()
        flops = min((budget.flops_left for budget in budgets), default=float("inf"))
        steps = min((budget.steps_left for budget in budgets), default=float("inf"))
        smaller = affordable(inner, inputs, flops, steps)
        if smaller is None:
            raise BudgetError(
                f"expected a run of {inner.name} within {flops:g} FLOPs and {steps:g} steps, got no cap that is small "
                "enough; send less, or raise the budget"
            )
        outcome = smaller.run(inputs)
        for budget in budgets:
            budget.spent_flops += smaller.prices.cost(outcome.work).sum().item()
            budget.spent_steps += steps_of(smaller, outcome.work)
        return outcome

    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """See :meth:`Layer.signals`; nothing is charged."""
        return inner.signals(inputs)

    def max_work(self, inner: Target, inputs: Samples) -> Work:
        """See :meth:`Layer.max_work`."""
        return inner.max_work(inputs)

    def fingerprint(self) -> str:
        """See :meth:`Layer.fingerprint`."""
        return "metered"


def metered(target: Target) -> Wrapped:
    """Return ``target``, charging what it runs to the budgets that are open."""
    return wrap(target, Metered(), target.name)


@dataclass(frozen=True)
class WorkBudget:
    """A token bucket of work.

    Attributes:
        flops_per_s: what a client may spend in the long run.
        burst_flops: what it may spend at once.
    """

    flops_per_s: float
    burst_flops: float

    def __post_init__(self) -> None:
        if not (0 <= self.flops_per_s < float("inf") and 0 < self.burst_flops < float("inf")):
            raise UsageError(f"expected a rate of 0 or more and a burst above 0, got {self}")


@dataclass
class _Bucket:
    """What a client has: ``level`` to spend, and ``held`` for each request that runs: a burst at most together."""

    level: float
    seen_s: float
    held: list[float] = field(default_factory=list)  # a running sum would not come back to 0 by rounding

    def fill(self, budget: WorkBudget, now_s: float) -> None:
        earned = budget.flops_per_s * max(0.0, now_s - self.seen_s)
        self.level = min(budget.burst_flops - math.fsum(self.held), self.level + earned)
        self.seen_s = max(self.seen_s, now_s)


class ClientBudgets:
    """A token bucket for each client. Before a request its static bound is taken out; what it did not cost goes back.

    So in any span of ``t`` seconds no client spends more than ``burst_flops + flops_per_s * t``, whatever it sends and
    however many of its requests run at once. A request that fails is charged its bound, since nobody knows what it did.

    Args:
        budget: of each client.
        clock: tells seconds.

    >>> from torpor.targets.toys import needle
    >>> import torch
    >>> target, now = needle(), [0.0]
    >>> clients = ClientBudgets(WorkBudget(flops_per_s=64.0, burst_flops=256.0), clock=lambda: now[0])
    >>> outcome = clients.run("eve", target, torch.full((1, 1, 4, 4), 0.5))
    >>> outcome.work.counts.tolist(), clients.available("eve"), clients.available("bob")
    ([[1, 1, 1, 1]], 0.0, 256.0)
    >>> now[0] = 2.0
    >>> clients.run("eve", target, torch.full((1, 1, 4, 4), 0.5)).work.counts.tolist()  # an earlier exit is affordable
    [[1, 1]]
    """

    def __init__(self, budget: WorkBudget, clock: Clock = time.monotonic) -> None:
        self.budget, self._clock = budget, clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()
        self._prune_at = 1024

    def available(self, client: str) -> float:
        """Return the FLOPs that ``client`` may spend now."""
        with self._lock:
            return self._bucket(client).level

    def run(self, client: str, target: Target, inputs: Samples) -> Outcome:
        """Run ``target`` for ``client``, with smaller caps if its own bound is not affordable.

        Raises:
            DataError: if the inputs are not valid; nothing is charged.
            BudgetError: if no caps are affordable.
        """
        inputs = target.space.check(inputs)
        smaller = affordable(target, inputs, self.available(client)) or smallest(target)
        with self.reserved(client, bound_of(smaller, inputs)) as settle:
            outcome: Outcome = smaller.run(inputs)
            settle(smaller.prices.cost(outcome.work).sum().item())
        return outcome

    @contextmanager
    def reserved(self, client: str, flops: float) -> Iterator[Callable[[float], None]]:
        """Hold ``flops`` back for a request; call what is yielded with its cost, or all of it is spent.

        Raises:
            BudgetError: if the client has not that much.
        """
        with self._lock:
            bucket = self._bucket(client)
            if flops > bucket.level:
                lacking, rate = flops - bucket.level, self.budget.flops_per_s
                never = flops > self.budget.burst_flops or rate == 0
                raise BudgetError(
                    f"expected a request of at most {bucket.level:g} FLOPs from {client!r}, got one that may cost "
                    f"{flops:g}; wait or send less",
                    None if never else lacking / rate,
                )
            bucket.level -= flops
            bucket.held.append(flops)
        cost = flops

        def settle(spent: float) -> None:
            nonlocal cost
            cost = min(spent, flops)

        try:
            yield settle
        finally:
            with self._lock:
                bucket.fill(self.budget, self._clock())  # first: while it was held, no more than the rest filled up
                bucket.held.remove(flops)
                bucket.level += flops - cost

    def _bucket(self, client: str) -> _Bucket:
        """Return a client's bucket, filled up to now; strangers have a full one."""
        now_s = self._clock()
        if len(self._buckets) >= self._prune_at:
            self._forget(now_s)
        bucket = self._buckets.setdefault(client, _Bucket(self.budget.burst_flops, now_s))
        bucket.fill(self.budget, now_s)
        return bucket

    def _forget(self, now_s: float) -> None:
        """Forget clients whose bucket is full: they are as good as strangers."""
        for bucket in self._buckets.values():
            bucket.fill(self.budget, now_s)
        full = self.budget.burst_flops
        self._buckets = {client: bucket for client, bucket in self._buckets.items() if bucket.level < full}
        self._prune_at = max(1024, 2 * len(self._buckets))
