"""A finished audit as a program or a notebook uses it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from torpor.api.checks import Checks
from torpor.api.records import Records
from torpor.audits import read
from torpor.audits.curves import SampleCurve, curves_of
from torpor.audits.evidence import check_flags
from torpor.audits.verdict.gate import evaluate_gates
from torpor.audits.verdict.gate_grammar import parse_gate
from torpor.core.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False, repr=False)
class Audit(read.SavedAudit):
    """What an audit found: a table of records, rows that sum them up, gates, a report.

    ``torpor.audit`` and ``torpor.load_audit`` return one. What lies in its folder is described in
    ``docs/audit-format.md``.

    Attributes:
        held: the same audit where no file holds its values, as under other prices; None where its folder does.
    """

    held: read.SavedAudit | None = None

    @override
    def load_records(self, columns: Sequence[str] | None = None, row: Mapping[str, Any] | None = None) -> pa.Table:
        return super().load_records(columns, row) if self.held is None else self.held.load_records(columns, row)

    @property
    def records(self) -> Records:
        """One record per sample and row, read when asked for."""
        return Records(self)

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One row per attack, condition and budget: the summary."""
        return self.summary

    def curves(self, row: Mapping[str, Any]) -> Sequence[SampleCurve]:
        """Return how the search on each sample of a row went: the best so far against passes.

        Empty for rows without a search of their own, in older audits, and under other prices than those of the run.

        Args:
            row: one of ``rows``.

        Raises:
            DataError: if the records are missing or corrupt.
        """
        return curves_of(self, row)

    def check(self, *gates: str, accept: Collection[str] = ()) -> Checks:
        """Judge the audit as ``torpor check`` does.

        Args:
            *gates: what must hold for every attack, such as ``"p95(slowdown) < 1.5"``.
            accept: reliability flags that do not make a pass inconclusive.

        Returns:
            The results, which are true only if all gates passed: an inconclusive one is no pass.

        Raises:
            UsageError: if there is no gate, or one cannot be read.
            DataError: if the records are missing or corrupt.
        """
        if not gates:
            raise UsageError("expected a gate such as 'p95(slowdown) < 1.5', got none")
        parsed = [parse_gate(gate, self.catalog, self.currency) for gate in gates]
        return Checks(tuple(evaluate_gates(self, parsed, check_flags(accept))))

    def priced(self, prices: str) -> Audit:
        """Return the audit with costs, and all that follows from them, under other prices; nothing is run again.

        Args:
            prices: a name from ``torpor list prices``, such as ``"seconds"`` or ``"steps"``, or a price file.

        Raises:
            UsageError: if there are no such prices, some unit has none, or the audit calibrated no valid seconds.
            DataError: if the records are missing or corrupt.
        """
        from torpor.audits.pricing.prices import load_prices
        from torpor.audits.pricing.repriced import repriced

        found = repriced(self, load_prices(prices))
        return Audit(found.folder, **found.parts(), held=found)

    def report(self, *gates: str, accept: Collection[str] = ()) -> Path:
        """Write ``report.html``, or ``report-CURRENCY.html`` under other prices, into the folder and return its path.

        Args:
            *gates: what must hold, see :meth:`check`: the report begins with them.
            accept: reliability flags that do not make a pass inconclusive.

        Raises:
            UsageError: if another process writes the folder, or a gate cannot be read.
            DataError: if the records are missing or corrupt.
        """
        from torpor.reports.html import write

        results = tuple(self.check(*gates, accept=accept)) if gates else ()
        audit = read.read_audit(self.folder) if self.held is None else self
        return write(audit, "report.html" if self.held is None else f"report-{self.currency}.html", results)

    def __repr__(self) -> str:
        read = (self.samples or {}).get("read")
        return f"Audit({self.target['name']!r}, {len(self.rows)} rows, {read} samples)"

    def _repr_html_(self) -> str:
        from torpor.api.notebook import audit_html

        return audit_html(self)


def load_audit(folder: Path | str) -> Audit:
    """Return the finished audit in a folder.

    Args:
        folder: what ``torpor audit --out`` or ``torpor.audit(out=...)`` was given.

    Raises:
        IncompleteAudit: if the audit has begun there but not finished.
        DataError: if there is none, or it is damaged.
    """
    found = read.read_audit(Path(folder))
    return Audit(found.folder, **found.parts())
