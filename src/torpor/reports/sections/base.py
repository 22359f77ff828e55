"""What a report shows of one family of targets; of families without a section of their own, all that they measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torpor.core.measures import Measure
from torpor.reports.kit.plots import Chart, Series
from torpor.reports.kit.tables import Column, Table, filled, form_of
from torpor.reports.kit.words import Row, at_most, bracket, percent, times, titled, value_text
from torpor.reports.samples.sample import Sample, Saved

if TYPE_CHECKING:
    import numpy as np

Cell = Callable[[str, Callable[[Any], str]], str]
"""Writes a value of a row by its key, or "not measured" and why."""


@dataclass(frozen=True)
class Part:
    """A table with a heading of its own.

    Attributes:
        heading: of it.
        caption: what the rows show.
        table: the table.
    """

    heading: str
    caption: str
    table: Table


class Section:
    """What is shown of one family of targets, on the console and in the HTML report.

    This class shows of any family what it measures. Subclasses show more; a plug-in registers its own as an entry
    point of the group ``torpor.sections``, under the name of the family.

    Args:
        audit: its parts, see :class:`torpor.audits.read.SavedAudit`.

    Attributes:
        columns: of the records, that charts and samples draw on top of those of every audit.
        note: how to read the family's columns.
        wide: whether tables have many columns, and samples need the whole width.
        shown: what the samples of the report show, in words; empty for the words of all reports.
    """

    columns: tuple[str, ...] = ()
    note: str = ""
    wide: bool = False
    shown: str = ""

    def __init__(self, audit: Row) -> None:
        self.audit, self.summary = audit, audit["summary"]
        self.measures: list[Measure] = [each for each in audit.get("measures") or () if each.level == "row"]
        self.target: Mapping[str, Any] = audit.get("target") or {}

    @property
    def utility(self) -> str:
        """What utility measures."""
        return next((str(row["utility_name"]) for row in self.summary if row.get("utility_name")), "utility")

    def main_columns(self) -> list[Column]:
        """Return the columns of the main table that tell what became of the output."""
        return [
            *(_column(each) for each in self._on_console()),
            Column(self.utility, "mean over samples", "utility", percent, optional=True),
            Column("agreement", "share of outputs that equal the clean one", "agreement", percent),
        ]

    def parts(self) -> list[Part]:
        """Return tables of the family's own."""
        numbers = [each for each in self.measures if each.numeric]
        if not numbers:
            return []
        table = filled([_column(each) for each in numbers], self.summary)
        return [Part("What this kind of target measures", "Means over samples", table)]

    def charts(self, series: Sequence[Series], records: Mapping[str, np.ndarray]) -> list[Chart]:
        """Return charts of the family's own, which come first."""
        return []

    def later_charts(self, series: Sequence[Series]) -> list[Chart]:
        """Return charts that come after those of cost."""
        return []

    def growth(self, row: Row) -> Mapping[str, float]:
        """Return what grows with the budget beside cost, by name: drawn against eps, over the clean row's."""
        return {}

    def tiles(self, worst: Row, clean: Row | None) -> list[tuple[str, str, str]]:
        """Return (value, title, remark) of the figures that head the report after those of cost."""
        own = [(_said(worst, each), each.title, f"clean {self._clean(clean, each)}") for each in self._on_console()]
        before = "not measured: no clean row" if clean is None else value_text(clean, "utility", percent)
        return [
            *own,
            (value_text(worst, "utility", percent), self.utility, f"clean {before}"),
            (value_text(worst, "agreement", percent), "agreement", "outputs that equal the clean one"),
        ]

    def sentences(self, worst: Row, clean: Row | None) -> list[str]:
        """Say what became of the output."""
        name = titled(str(worst.get("utility_name") or "utility"))
        before = "not measured" if clean is None else value_text(clean, "utility", percent)
        said = [
            f"{titled(each.title)} {_said(worst, each)} (clean {self._clean(clean, each)})."
            for each in self._on_console()
        ]
        agreement = value_text(worst, "agreement", percent)
        return [
            *said,
            f"{name} {value_text(worst, 'utility', percent)} (clean {before}); outputs unchanged: {agreement}.",
        ]

    def console_heads(self) -> tuple[str, ...]:
        """Return the heads of the console's columns, between the attack and the flags."""
        own = tuple(each.title.replace(" ", "\n") for each in self._on_console())
        return ("slowdown", "p95 / max", "headroom", *own, self.utility, "agree")

    def console_cells(self, row: Row, cell: Cell) -> list[str]:
        """Return the text of each of them."""
        own = [cell(each.name, form_of(each)) for each in self._on_console()]
        return [*cost_cells(row, cell), *own, cell("utility", percent), cell("agreement", percent)]

    def console_note(self) -> str:
        """Say how to read them."""
        return "; ".join(["slowdown: mean [95 % CI]", *(f"{each.title}: {each.help}" for each in self._on_console())])

    def sample(self, saved: Saved) -> Sample:
        """Return one attacked input for people to look at."""
        said = [saved.slowdown, *saved.changes()]
        return Sample(saved.title, ", ".join([*said, saved.distance]), saved.views, saved.input_sides())

    def _on_console(self) -> list[Measure]:
        return [each for each in self.measures if each.on_console]

    def _clean(self, clean: Row | None, measure: Measure) -> str:
        return "not measured: no clean row" if clean is None else _said(clean, measure)


def _said(row: Row, measure: Measure) -> str:
    return value_text(row, measure.name, form_of(measure), measure.null)


def _column(measure: Measure) -> Column:
    return Column(
        measure.title, measure.help, measure.name, form_of(measure), optional=bool(measure.null), null=measure.null
    )


def cost_cells(row: Mapping[str, Any], cell: Cell) -> list[str]:
    """Return mean slowdown over its interval and what is certified, p95 over maximum, and headroom."""
    mean = "\n".join(filter(None, (cell("slowdown_mean", times), bracket(row), at_most(row))))
    tail = f"{cell('slowdown_p95', times)}\n{cell('slowdown_max', times)}"
    return [mean, tail, cell("headroom_mean", percent)]
