"""A finished audit under prices that were chosen after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from torpor.api.result import Audit
from torpor.audits.pricing.prices import load_prices
from torpor.audits.pricing.repriced import Repriced, repriced


@dataclass(frozen=True, eq=False, repr=False)
class PricedAudit(Audit, Repriced):
    """An audit in another currency, as :meth:`Audit.priced` returns it; no file holds it."""

    @override
    def report(self) -> Path:
        """Write ``report-CURRENCY.html`` into the audit's folder and return its path; see :meth:`Audit.report`."""
        from torpor.reports.html import write

        return write(self, f"report-{self.currency}.html")


def priced(audit: Audit, prices: str) -> PricedAudit:
    """Return an audit under other prices; see :meth:`Audit.priced`."""
    found = repriced(audit, load_prices(prices))
    return PricedAudit(found.folder, **found.parts(), run=found.run, changed=found.changed)
