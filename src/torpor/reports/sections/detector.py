"""What a report shows of pipelines that pass objects downstream: the objects, the cost of each stage, suppression."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence

from typing_extensions import override

from torpor.core.units import common_scale, symbol
from torpor.reports.kit import plots
from torpor.reports.kit.plots import Chart, Key, Series
from torpor.reports.kit.tables import Column, Table, filled
from torpor.reports.kit.words import (
    Row,
    is_missing,
    missing,
    percent,
    quantity,
    reason_for,
    steps_text,
    value_text,
)
from torpor.reports.samples.boxes import box_views
from torpor.reports.samples.sample import Sample, Saved
from torpor.reports.sections.base import Cell, Part, Section, cost_cells

STAGE_COLORS = ("#9ca3af", "#0072b2", "#009e73", "#d55e00", "#c05f96")
"""Of the stages, in their order; the network first, which costs the same for every input."""
TRACKER = "tracker"
"""Stage of the units of a tracker."""
GROWING = ("candidate", "track_alive")
"""Units that an attack on what is found multiplies."""
NOTE = (
    "Counts are means per sample, over all frames of a video; units are in the order of the pipeline. Clean recall is "
    "the share of the clean input's objects that are found in the attacked one too, with their class and an overlap "
    "(IoU) of at least 0.5. mAP, MOTA and IDF1 compare with the ground truth, not with the clean output."
)


class DetectorSection(Section):
    """Objects, candidates, and the stages of the pipeline."""

    columns = ("kept", "clean_recall", "found", "truth")
    note = NOTE
    wide = True

    @property
    def video(self) -> bool:
        """Whether inputs are videos."""
        return self.target.get("inputs") == "video"

    @property
    @override
    def shown(self) -> str:  # type: ignore[override]
        frames = (
            ": colors tell tracks apart, and boxes that no track follows are gray. Six frames are drawn, from the "
            "first to the last"
        )
        return (
            f"The costliest saved inputs, with the boxes that were handed downstream{frames if self.video else ''}. "
            "Thin white boxes are the ground truth."
        )

    @property
    def per(self) -> str:
        """What one sample is."""
        return "video" if self.video else "image"

    @override
    def main_columns(self) -> list[Column]:
        says = "mean handed downstream per sample"
        return [
            Column("objects, clean", says, "kept_clean_mean", steps_text),
            Column("objects", says, "kept_mean", steps_text),
            Column(f"{self.utility} per {self.per}", "mean over samples", "utility", "{:.3f}".format),
            Column("agreement", "share of predictions that equal the clean one", "agreement", percent),
        ]

    def parts(self) -> list[Part]:
        """Return what every row found and handed on."""
        units = [unit["name"] for unit in (self.audit.get("units") or {}).get("none", ())]
        per, truth = self.per, "over all samples, against the ground truth"
        columns = [
            *(Column(name, f"mean runs of this unit per {per}", only=_count(name)) for name in units),
            Column("kept, clean", f"mean objects handed on per {per}", "kept_clean_mean", steps_text),
            Column("kept", f"mean objects handed on per {per}", "kept_mean", steps_text),
            Column("clean recall", "share of the clean input's objects still found", "clean_recall_mean", percent),
            Column("mAP@.5", truth, "map50", "{:.3f}".format, optional=True),
            Column("mAP@[.5:.95]", truth, "map", "{:.3f}".format, optional=True),
            Column("MOTA", truth, "mota", "{:.3f}".format, optional=True),
            Column("IDF1", truth, "idf1", "{:.3f}".format, optional=True),
        ]
        caption = "Work of every unit, and how well the ground truth was found"
        return [Part("What was handed downstream", caption, filled(columns, self.summary))]

    def later_charts(self, series: Sequence[Series]) -> list[Chart]:
        """Draw the cost of each stage, and suppression by the clock."""
        fit = suppression_fit(self.audit)
        return [*stage_bars(self.audit, series), *([fit] if fit else [])]

    def growth(self, row: Row) -> Mapping[str, float]:
        """Return the counts of candidates and tracks, which the network's cost, the same for every image, can hide."""
        counts = row.get("units_mean") or {}
        return {name: counts[name] for name in GROWING if counts.get(name)}

    def tiles(self, worst: Row, clean: Row | None) -> list[tuple[str, str, str]]:
        """Return the figures of a target that finds objects: MOTA where it tracks them, else mAP."""
        key, name = ("map50", "mAP@.5") if is_missing(worst.get("mota")) else ("mota", "MOTA")
        was = missing("no clean row") if not clean else value_text(clean, key, "{:.3f}".format)
        before = value_text(worst, "kept_clean_mean", steps_text)
        counts = [(row.get("units_mean") or {}).get("candidate") for row in (clean or {}, worst)]
        seen, saw = (missing("no counts") if count is None else steps_text(count) for count in counts)
        return [
            (saw, "candidates", f"mean per sample; clean {seen}"),
            (value_text(worst, "kept_mean", steps_text), "objects handed on", f"mean per sample; clean {before}"),
            (value_text(worst, "clean_recall_mean", percent), "clean recall", "clean objects that are still found"),
            (value_text(worst, key, "{:.3f}".format), name, f"clean {was}"),
        ]

    @override
    def sentences(self, worst: Row, clean: Row | None) -> list[str]:
        return [_objects_sentence(worst, clean), *_seconds_sentence(self.audit, worst, clean)]

    @override
    def console_heads(self) -> tuple[str, ...]:
        score = "MOTA" if any(map(_tracks, self.summary)) else "mAP@.5"
        return "slowdown", "p95 / max", "headroom", "objects", "clean\nrecall", score

    @override
    def console_cells(self, row: Row, cell: Cell) -> list[str]:
        kept = f"{cell('kept_clean_mean', steps_text)}\n-> {cell('kept_mean', steps_text)}"
        recall, score = cell("clean_recall_mean", percent), "mota" if _tracks(row) else "map50"
        return [*cost_cells(row, cell), kept, recall, cell(score, "{:.3f}".format)]

    @override
    def console_note(self) -> str:
        return (
            "slowdown: mean [95 % CI]; objects: mean per sample that are handed downstream, clean -> attacked; clean "
            "recall: clean objects that are still found"
        )

    @override
    def sample(self, saved: Saved) -> Sample:
        records, at = saved.records, saved.at
        texts = records["found"][saved.clean], records["found"][at], records["truth"][at]
        found, attacked, true = (None if text is None else json.loads(text) for text in texts)
        recall = records["clean_recall"][at]
        said = [saved.slowdown, f"{records['kept'][saved.clean]} to {records['kept'][at]} objects"]
        said += (
            [] if recall is None or recall != recall else [f"{percent(float(recall))} of the clean ones still found"]
        )
        views = box_views(*saved.pair, found, attacked, true)
        return Sample(saved.title, ", ".join([*said, saved.distance]), views)


def _tracks(row: Row) -> bool:
    return not is_missing(row.get("mota"))


def _count(name: str) -> Callable[[Table, Row], str]:
    def cell(table: Table, row: Row) -> str:
        counts = row.get("units_mean") or {}
        return steps_text(counts[name]) if name in counts else table.cell(row, "units_mean", str)

    return cell


def stage_bars(audit: Row, series: Sequence[Series]) -> list[Chart]:
    """Draw the mean cost of each stage, clean and attacked, stacked: by count, and by the clock where it was read."""
    drawn = [s for s in series if s.rows[0].get("stage_cost_mean")]
    if not drawn:
        return []
    costs = [s.rows[0]["stage_cost_mean"] for s in drawn]
    note = "Mean over all samples; each bar is one row of the table, its colors the stages of the pipeline. "
    unit = symbol(str(audit.get("currency") or "flops"))
    says = "FLOPs are exact." if unit == "FLOPs" else f"Counts are exact, their prices in {unit} need not be."
    charts = [_stacked("stage-cost", "Cost of each stage", note + says, drawn, costs, unit)]
    times = [taken for s in drawn if (taken := stage_seconds(audit, s.rows[0]))]
    if times:
        said = note + f"Counts times calibrated prices ({audit['clock']['price_list']}): advisory."
        charts.append(_stacked("stage-seconds", "Time of each stage on this device", said, drawn, times, "s"))
    return charts


def stage_seconds(audit: Row, row: Row) -> dict[str, float] | None:
    """Return what each stage takes per sample by the calibrated prices of this device; None without them."""
    seconds = (audit.get("clock") or {}).get("seconds_per_unit")
    if not seconds or not row.get("units_mean"):
        return None
    stages = {unit["name"]: unit.get("stage") or "" for unit in (audit.get("units") or {}).get("none", ())}
    taken = dict.fromkeys(stages.values(), 0.0)
    for name, count in row["units_mean"].items():
        taken[stages[name]] += count * seconds[name]
    return taken


def _seconds_sentence(audit: Row, worst: Row, clean: Row | None) -> list[str]:
    """Say what tracking takes, whose work a network in front can hide; nothing without calibrated prices."""
    taken = [each for row in (clean, worst) if (each := stage_seconds(audit, row or {})) and TRACKER in each]
    if len(taken) < 2:
        return []
    tracking = " to ".join(quantity(each[TRACKER], "s") for each in taken)
    whole = " to ".join(quantity(sum(each.values()), "s") for each in taken)
    return [f"By the calibrated prices of this device, tracking takes {tracking} of {whole} per video."]


def _stacked(
    name: str, title: str, note: str, series: Sequence[Series], costs: Sequence[dict[str, float]], unit: str
) -> Chart:
    figure, keys = plots.figure(), list[Key]()
    scale, scaled_unit = common_scale([sum(cost.values()) for cost in costs], unit)
    for place, stage in enumerate(costs[0]):
        color = STAGE_COLORS[place % len(STAGE_COLORS)]
        values = [cost[stage] for cost in costs]
        figure.add_bar(
            x=[html.escape(s.name).replace(", ", "<br>") for s in series],
            y=[value / scale for value in values],
            customdata=[quantity(value, unit) for value in values],
            marker={"color": color},
            hovertemplate=f"{html.escape(stage)}<br>%{{customdata}}<extra></extra>",
        )
        keys.append(Key(stage or "whole", color, None))
    figure.update_layout(barmode="stack")
    return plots.chart(name, title, note, keys, figure, ("", f"mean cost per sample ({scaled_unit})"))


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
        "Few of these random boxes overlap, as in an attacked image."
    )
    keys = [Key("measured", plots.COLORS[1], None), Key("fit", plots.REFERENCE, "")]
    axes = ("candidates n", "time of suppression (ms)")
    return plots.chart("suppression", "Suppression against candidates", note, keys, figure, axes)


def _objects_sentence(worst: Row, clean: Row | None) -> str:
    """Say what became of the number of objects, of those that the clean input has, and of the ground truth."""
    kept = " to ".join(value_text(worst, key, steps_text) for key in ("kept_clean_mean", "kept_mean"))
    recall = worst.get("clean_recall_mean")
    left = "the clean inputs have none"
    if recall is not None and not is_missing(recall):
        left = f"{percent(recall)} of the clean ones are still found"
    said = f"Objects handed downstream per sample: {kept} on average; {left}"
    scores = (("mAP@.5", "map50"), ("MOTA", "mota"), ("IDF1", "idf1"))
    known = [(name, key) for name, key in scores if not is_missing(worst.get(key))]
    if not known:
        return f"{said}; the ground truth: {missing(reason_for(worst, 'map50'))}."
    before = {key: "not measured" if clean is None else value_text(clean, key, "{:.3f}".format) for _, key in known}
    scored = ", ".join(f"{name} {worst[key]:.3f} (clean {before[key]})" for name, key in known)
    return f"{said}. Against the ground truth: {scored}."
