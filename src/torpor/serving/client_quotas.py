"""Quotas of clients: what each one's requests may cost together, in FLOPs instead of in requests."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.work import Outcome
from torpor.serving.affordable import affordable, bound_of, smallest
from torpor.serving.ledger import QuotaError, cost_of, limit_of
from torpor.serving.this_process import this_process
from torpor.targets.base import Target

Clock = Callable[[], float]
"""Tells seconds that should never run backward; where they do, time stands still."""


@dataclass(frozen=True)
class TokenBucket:
    """A token bucket of work.

    Attributes:
        flops_per_s: what a client may spend in the long run.
        burst_flops: what it may spend at once.
    """

    flops_per_s: float
    burst_flops: float

    def __post_init__(self) -> None:
        rate = 1.0 if self.flops_per_s == 0 else limit_of("FLOPs per second", self.flops_per_s)
        if None in (rate, limit_of("FLOPs", self.burst_flops)):
            raise UsageError(f"expected a rate of 0 or more and a burst above 0, got {self}")


@dataclass
class _Level:
    """What a client has: ``level`` to spend, and ``held`` for each request that runs: a burst at most together."""

    level: float
    seen_s: float
    held: list[float] = field(default_factory=list)  # a running sum would not come back to 0 by rounding

    def fill(self, quota: TokenBucket, now_s: float) -> None:
        earned = quota.flops_per_s * max(0.0, now_s - self.seen_s)
        self.level = min(quota.burst_flops - math.fsum(self.held), self.level + earned)
        self.seen_s = max(self.seen_s, now_s)


class ClientQuotas:
    """A token bucket for each client. Before a request its static bound is taken out; what it did not cost goes back.

    So in any span of ``t`` seconds no client spends more than ``burst_flops + flops_per_s * t``, whatever it sends and
    however many of its requests run at once. A request that fails is charged its bound, since what it did is unknown.
    The buckets belong to the process that made them; copies are the buckets themselves.

    Args:
        quota: of each client.
        clock: tells seconds.

    >>> from torpor.targets.early_exit.toys import needle
    >>> import torch
    >>> target, now = needle(), [0.0]
    >>> clients = ClientQuotas(TokenBucket(flops_per_s=64.0, burst_flops=256.0), clock=lambda: now[0])
    >>> outcome = clients.run("eve", target, torch.full((1, 1, 4, 4), 0.5))
    >>> outcome.work.counts.tolist(), clients.available("eve"), clients.available("bob")
    ([[1, 1, 1, 1]], 0.0, 256.0)
    >>> now[0] = 2.0
    >>> clients.run("eve", target, torch.full((1, 1, 4, 4), 0.5)).work.counts.tolist()  # an earlier exit is affordable
    [[1, 1, 0, 0]]
    """

    def __init__(self, quota: TokenBucket, clock: Clock = time.monotonic) -> None:
        self.quota, self._clock = quota, clock
        self._now_s = -math.inf
        self._buckets: dict[str, _Level] = {}
        self._lock = threading.RLock()  # reentrant: a generator that is collected while it is held may settle
        self._home = this_process()
        self._prune_at = 1024

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise UsageError("expected quotas to stay in their process, got some to be pickled; make some in each process")

    def available(self, client: str) -> float:
        """Return the FLOPs that ``client`` may spend now.

        Raises:
            QuotaError: in another process than that which made the quotas.
        """
        self._check_home()
        with self._lock:
            return max(0.0, self._bucket(client).level)

    def run(self, client: str, target: Target, inputs: Samples) -> Outcome:
        """Run ``target`` for ``client``, with smaller caps if its own bound is not affordable.

        Raises:
            DataError: if the inputs are not valid; nothing is charged.
            QuotaError: if no caps are affordable, or in another process than that which made the quotas.
        """
        inputs = target.space.check(inputs)
        with ExitStack() as stack:
            smaller, settle = self._reserve(stack, client, target, inputs)
            outcome: Outcome = smaller.run(inputs)
            settle(smaller.prices.cost(outcome.work).sum().item())
        return outcome

    def _reserve(
        self, stack: ExitStack, client: str, target: Target, inputs: Samples
    ) -> tuple[Target, Callable[[float], None]]:
        """Return ``target`` with caps that ``client`` affords, and what settles their bound, which is held back."""
        while True:
            smaller = affordable(target, inputs, self.available(client))
            flops = bound_of(smallest(target) if smaller is None else smaller, inputs)
            try:
                settle = stack.enter_context(self.reserved(client, flops))
            except QuotaError:
                if smaller is None:
                    raise
                continue  # other requests of the client were faster
            return (smallest(target) if smaller is None else smaller), settle

    @contextmanager
    def reserved(self, client: str, flops: float) -> Iterator[Callable[[float], None]]:
        """Hold ``flops`` back for a request; call what is yielded with its cost, or all of it is spent.

        Raises:
            QuotaError: if the client has not that much, or in another process than that which made the quotas.
            UsageError: if ``flops``, or the cost, is not a finite number of 0 or more.
        """
        self._check_home()
        cost_of("FLOPs", flops)
        with self._lock:
            bucket = self._bucket(client)
            if flops > max(0.0, bucket.level):
                lacking, rate = flops - bucket.level, self.quota.flops_per_s
                never = flops > self.quota.burst_flops or rate == 0
                raise QuotaError(
                    f"expected a request of at most {max(0.0, bucket.level):g} FLOPs from {client!r}, got one that may "
                    f"cost {flops:g}; wait or send less",
                    None if never else lacking / rate,
                )
            bucket.level -= flops
            bucket.held.append(flops)
        cost = flops

        def settle(spent: float) -> None:
            nonlocal cost
            cost = float(cost_of("FLOPs", spent))  # also if it is more: work done is work charged

        try:
            yield settle
        finally:
            if self._home == this_process():  # in a forked child, the request goes on in the parent
                with self._lock:
                    bucket.fill(self.quota, self._seconds())  # first: while held, no more than the rest filled up
                    bucket.held.remove(flops)
                    bucket.level += flops - cost

    def _check_home(self) -> None:
        if self._home != this_process():
            raise QuotaError(
                "expected requests in the process that made the quotas, got one in another process, which would spend "
                "the same quotas again; make some in each process"
            )

    def _seconds(self) -> float:
        """Return the time, which never runs backward and is always a number."""
        now_s = self._clock()
        if math.isfinite(now_s):
            self._now_s = max(self._now_s, now_s)
        return self._now_s if math.isfinite(self._now_s) else 0.0

    def _bucket(self, client: str) -> _Level:
        """Return a client's bucket, filled up to now; strangers have a full one."""
        now_s = self._seconds()
        if len(self._buckets) >= self._prune_at:
            self._forget(now_s)
        bucket = self._buckets.setdefault(client, _Level(self.quota.burst_flops, now_s))
        bucket.fill(self.quota, now_s)
        return bucket

    def _forget(self, now_s: float) -> None:
        """Forget clients whose bucket is full: they are as good as strangers."""
        for bucket in self._buckets.values():
            bucket.fill(self.quota, now_s)
        full = self.quota.burst_flops
        self._buckets = {
            client: bucket for client, bucket in self._buckets.items() if bucket.held or bucket.level < full
        }
        self._prune_at = max(1024, 2 * len(self._buckets))
