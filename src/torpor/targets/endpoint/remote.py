"""What a target is that runs on a server: limits of what is sent, and answers that are kept."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import torch

from torpor.core.errors import UsageError
from torpor.targets.decoder.contract import StepTarget
from torpor.targets.endpoint.asker import Asker
from torpor.targets.endpoint.spending import REMOTE_DOLLARS, REMOTE_REQUESTS, Spending

AUDIT_S = 540.0
"""Seconds that attacks take by default: 10 minutes with all else."""


class RemoteTarget(StepTarget):
    """A target whose runs are requests to a server, each of which may cost money.

    Attributes:
        asker: that sends them, and remembers what was answered.
        elsewhere: that each run leaves this process.
    """

    asker: Asker
    max_seconds = AUDIT_S
    elsewhere = True

    @property
    def spending(self) -> Spending:
        """What was sent and spent, and what may be."""
        return self.asker.client.spending

    @property
    def url(self) -> str:
        """Of the server."""
        return self.asker.url

    def resend(self) -> None:
        """Send again what was under way when an earlier run of the same audit was ended; it may be billed twice."""
        self.asker.resends = True

    def kept_in(self, folder: Path) -> AbstractContextManager[None]:
        """Return a context in which answers are kept in a folder; see :meth:`Asker.kept_in`."""
        return self.asker.kept_in(folder)

    def asked_anew(self) -> AbstractContextManager[None]:
        """Return a context in which nothing is remembered, so that it can be timed."""
        return self.asker.forgetful()

    def spend(self, queries: int | None, cost: float | None) -> tuple[int | None, float | None]:
        """Limit what is sent from now on, and return the limits: a remote server has some if none are given.

        Args:
            queries: requests at most, in all.
            cost: at most, in the currency of its prices.

        Raises:
            UsageError: if it is remote, and nothing limits what it costs.
        """
        if self.asker.client.address.is_remote:
            queries = REMOTE_REQUESTS if queries is None else queries
            if cost is None and self.spending.prices.currency != "dollars":
                raise UsageError(
                    f"expected prices of a remote server, got none of {self.asker.client.address.host}; pass --prices "
                    "FILE with dollars per million tokens, or --max-cost in tokens"
                )
            cost = REMOTE_DOLLARS if cost is None else cost
        self.spending.requests, self.spending.cost = queries, cost
        return queries, cost

    def within(self, seconds: float | None) -> None:
        """Send nothing more after so many seconds from now."""
        self.spending.within(seconds)

    @property
    def unnoticed(self) -> tuple[str, ...]:
        """What may change without the fingerprint telling."""
        return (f"the model that {self.url} calls {self.name}",)

    def to(self, device: torch.device) -> Self:
        """Return this target: it runs elsewhere."""
        return self
