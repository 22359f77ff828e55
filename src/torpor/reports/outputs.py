"""What pipelines hand downstream: their table, the cost of each stage, and suppression by the clock."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from torpor.reports import plots, words
from torpor.reports.plots import Chart, Key, Series
from torpor.reports.tables import Column, Table, filled
from torpor.reports.words import Row, percent, quantity, steps_text

STAGE_COLORS = ("#9ca3af", "#0072b2", "#009e73", "#d55e00", "#c05f96")
"""Of the stages, in their order; the network first, which costs the same for every input."""


def outputs_table(audit: Row) -> Table | None:
    """Return what every row found and handed on; None for targets that find nothing."""
    summary = audit["summary"]
    if not words.finds(summary):
        return None
    units = [unit["name"] for unit in audit["target"]["units"]]
    per = "video" if audit["target"].get("inputs") == "video" else "picture"
    columns = [
        *(Column(name, f"mean runs of this unit per {per}", only=_count(name)) for name in units),
        Column("kept, clean", f"mean objects handed on per {per}", "kept_clean_mean", steps_text),
        Column("kept", f"mean objects handed on per {per}", "kept_mean", steps_text),
        Column("clean recall", "share of the clean input's objects still found", "clean_recall_mean", percent),
        Column("mAP@.5", "over all samples, against what is there", "map50", "{:.3f}".format, optional=True),
        Column("mAP@[.5:.95]", "over all samples, against what is there", "map", "{:.3f}".format, optional=True),
        Column("MOTA", "over all samples, against what is there", "mota", "{:.3f}".format, optional=True),
        Column("IDF1", "over all samples, against what is there", "idf1", "{:.3f}".format, optional=True),
    ]
    return filled(columns, summary)


def _count(name: str) -> Callable[[Table, Row], str]:
    def cell(table: Table, row: Row) -> str:
        counts = row.get("units_mean") or {}
        return steps_text(counts[name]) if name in counts else table.cell(row, "units_mean", str)

    return cell


def stage_bars(audit: Row, series: Sequence[Series]) -> list[Chart]:
    """Draw the mean cost of each stage, clean and attacked, stacked: by FLOPs, and by the clock where it was read."""
    drawn = [s for s in series if s.rows[0].get("stage_flops_mean")]
    if not drawn:
        return []
    costs = [s.rows[0]["stage_flops_mean"] for s in drawn]
    note = "Mean over all samples; each bar is one row of the table, its colors the stages of the pipeline. "
    charts = [_stacked("stage-flops", "Cost of each stage", note + "FLOPs are exact.", drawn, costs, "FLOPs")]
    seconds = (audit.get("clock") or {}).get("seconds_per_unit")
    if seconds:
        stages = {unit["name"]: unit.get("stage") or "" for unit in audit["target"]["units"]}
        times = []
        for s in drawn:
            taken = dict.fromkeys(stages.values(), 0.0)
            for name, count in s.rows[0]["units_mean"].items():
                taken[stages[name]] += count * seconds[name]
            times.append(taken)
        said = note + f"Counts times calibrated prices ({audit['clock']['price_list']}): advisory."
        charts.append(_stacked("stage-seconds", "Time of each stage on this device", said, drawn, times, "s"))
    return charts


def _stacked(
    name: str, title: str, note: str, series: Sequence[Series], costs: Sequence[dict[str, float]], unit: str
) -> Chart:
    figure, keys = plots.figure(), list[Key]()
    for place, stage in enumerate(costs[0]):
        color = STAGE_COLORS[place % len(STAGE_COLORS)]
        values = [cost[stage] for cost in costs]
        figure.add_bar(
            x=[html.escape(s.name).replace(", ", "<br>") for s in series],
            y=values,
            customdata=[quantity(value, unit) for value in values],
            marker={"color": color},
            hovertemplate=f"{html.escape(stage)}<br>%{{customdata}}<extra></extra>",
        )
        keys.append(Key(stage or "whole", color, None))
    figure.update_layout(barmode="stack")
    return plots.chart(name, title, note, keys, figure, ("", f"mean cost per sample ({unit})"))


def suppression_fit(audit: Row) -> Chart | None:
    """Draw how long suppression takes for so many candidates, and the fitted polynomial."""
    fit = (audit.get("clock") or {}).get("nms")
    if not fit:
        return None
    a, b, c = fit["a_s"], fit["b_s"], fit["c_s"]
    top = fit["candidates"][-1]
    grid = [top * place / 60 for place in range(61)]
    figure = plots.figure()
    line = {"color": plots.REFERENCE, "width": 2}
    y = [1e3 * (a + b * n + c * n * n) for n in grid]
    figure.add_scatter(x=grid, y=y, mode="lines", line=line, hovertemplate="%{x:.0f}: %{y:.2f} ms<extra></extra>")
    measured = [1e3 * value for value in fit["seconds"]]
    said = "%{x} candidates: %{y:.2f} ms<extra></extra>"
    marker = {"color": plots.COLORS[1], "size": 9}
    figure.add_scatter(x=fit["candidates"], y=measured, mode="markers", marker=marker, hovertemplate=said)
    note = (
        f"t = {quantity(a, 's')} + {quantity(b, 's')} n + {quantity(c, 's')} n^2, fitted to medians on this device. "
        "Few of these random boxes overlap, as in an attacked picture."
    )
    keys = [Key("measured", plots.COLORS[1], None), Key("fit", plots.REFERENCE, "")]
    axes = ("candidates n", "time of suppression (ms)")
    return plots.chart("suppression", "Suppression against candidates", note, keys, figure, axes)
