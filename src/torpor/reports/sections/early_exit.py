"""What a report shows of targets that exit early."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from torpor.reports.kit import plots
from torpor.reports.kit.plots import Chart, Series
from torpor.reports.kit.tables import Column
from torpor.reports.kit.words import Row, percent
from torpor.reports.samples.sample import Sample, Saved
from torpor.reports.sections.base import Cell, Part, Section, cost_cells

if TYPE_CHECKING:
    import numpy as np

EXITS = (
    Column("efficacy, step", "1 - mean cost as a share of the static bound", "efficacy_step", "{:.3f}".format),
    Column("efficacy, trapezoid", "area under the early-exit curve", "efficacy_eec", "{:.3f}".format),
    Column("samples per exit", "first exit to last", "exit_histogram", lambda counts: " / ".join(map(str, counts))),
)


class EarlyExitSection(Section):
    """Exits, and both forms of efficacy."""

    columns = ("exit", "reference")

    @property
    def note(self) -> str:  # type: ignore[override]
        """How to read both forms of efficacy, and how low the trapezoid can go for these exits."""
        return efficacy_note(self.target.get("exit_costs") or [])

    @override
    def main_columns(self) -> list[Column]:
        return [
            Column(self.utility, "on the same inputs", "utility", percent),
            Column("agreement", "share of predictions that equal the clean one", "agreement", percent),
            *EXITS,
        ]

    def parts(self) -> list[Part]:
        """Return nothing: all is in the main table."""
        return []

    def charts(self, series: Sequence[Series], records: Mapping[str, np.ndarray]) -> list[Chart]:
        """Draw where samples leave, clean and attacked."""
        drawn = [s for s in series if s.rows[0].get("exit_histogram")]
        return [exit_histogram(self.audit, drawn)] if drawn else []

    @override
    def console_heads(self) -> tuple[str, ...]:
        utility = self.utility if self.summary else "accuracy"
        return "slowdown", "p95 / max", "headroom", "efficacy", utility, "agree"

    @override
    def console_cells(self, row: Row, cell: Cell) -> list[str]:
        shares = [cell(key, percent) for key in ("utility", "agreement")]
        return [*cost_cells(row, cell), cell("efficacy_step", "{:.3f}".format), *shares]

    @override
    def console_note(self) -> str:
        return "slowdown: mean [95 % CI]; efficacy: step form, 1 - mean cost over the static bound"

    @override
    def tiles(self, worst: Row, clean: Row | None) -> list[tuple[str, str, str]]:
        *_, utility, (agreement, name, _) = super().tiles(worst, clean)
        return [utility, (agreement, name, "predictions that equal the clean one")]

    @override
    def sentences(self, worst: Row, clean: Row | None) -> list[str]:
        said = super().sentences(worst, clean)[-1]
        return [said.replace("outputs unchanged", "predictions unchanged")]

    @override
    def sample(self, saved: Saved) -> Sample:
        taken = [saved.records["exit"][at] for at in (saved.clean, saved.at)]
        exits = [int(number) for number in taken if number is not None and number == number]
        said = [saved.slowdown, *([f"exit {' to '.join(map(str, exits))}"] if exits else [])]
        said += ["prediction unchanged" if saved.agrees else "prediction changed"]
        said += [f"label {saved.records['reference'][saved.at]}", saved.distance]
        return Sample(saved.title, ", ".join(said), saved.views)


def efficacy_note(exit_costs: Sequence[float]) -> str:
    """Explain both forms of early-exit efficacy and how low the trapezoid can go for these exits.

    >>> "below 0.150" in efficacy_note([0.4, 0.7, 1.0])
    True
    """
    from torpor.metrics.efficacy import eec_floor

    note = (
        "Early-exit efficacy is near 1 when samples leave early and falls as they stay. The step form is 1 minus the "
        "mean cost as a share of the static bound, so it is 0 when every sample runs to the end. The trapezoid form, "
        "the area under the curve of samples gone against cost, joins the exits by straight lines"
    )
    if not exit_costs:
        return f"{note}."
    return (
        f"{note} and thereby credits half of the last stretch that no sample saved: here it cannot fall below "
        f"{eec_floor(exit_costs):.3f}, even if every sample runs to the end."
    )


def exit_histogram(audit: Row, drawn: Sequence[Series]) -> Chart:
    """Draw where samples leave, clean and attacked."""
    exits = len(drawn[0].rows[0]["exit_histogram"])
    costs = list(audit["target"].get("exit_costs") or [])
    shares = [f"<br>{100 * cost:.0f} %" for cost in costs] if len(costs) == exits else [""] * exits
    figure = plots.figure()
    for s in drawn:
        counts = s.rows[0]["exit_histogram"]
        figure.add_bar(
            x=[f"exit {place}{share}" for place, share in enumerate(shares)],
            y=[100 * count / max(1, sum(counts)) for count in counts],
            customdata=counts,
            marker={"color": s.color, "pattern": {"shape": "" if s.dash == "solid" else "/"}},
            hovertemplate=f"{html.escape(s.name)}<br>%{{y:.1f}} % (%{{customdata}} samples)<extra></extra>",
        )
    axis = "exit taken" + ("; cost up to it, % of the static bound" if len(costs) == exits else "")
    note = "Each color adds up to 100 %. An efficiency attack moves samples to the right, to later and costlier exits."
    axes = (axis, "samples (%)")
    return plots.chart(
        "exits", "Where samples leave the network", note, [s.key(filled=True) for s in drawn], figure, axes
    )
