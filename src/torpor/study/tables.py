"""The study's result as tables: our figures beside those of the artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torpor.attacks.registry import load_attack
from torpor.core.budget import budget_text
from torpor.reports.defended import ATTACKERS, pareto
from torpor.reports.kit.plots import Chart
from torpor.reports.kit.words import Row, bracket, costliest, is_missing, percent, times
from torpor.study.run import Result

Cells = list[str]
NONE = "n/a"


@dataclass(frozen=True)
class StudyTable:
    """A table of the page.

    Attributes:
        title: what it is about.
        remark: how it was made.
        heads: titles of the columns.
        rows: cells, as many as there are heads.
        chart: to be drawn beside it, if there is one.
    """

    title: str
    remark: str
    heads: tuple[str, ...]
    rows: Sequence[Cells]
    chart: Chart | None = None


@dataclass(frozen=True)
class FieldMeasure:
    """What the field measures a family of targets by, beside work.

    Attributes:
        title: its name.
        of: reads it from a summary row, as text.
    """

    title: str
    of: Callable[[Row], str]


MEASURES: Mapping[str, FieldMeasure] = {
    "early-exit": FieldMeasure("efficacy", lambda row: _form(row.get("efficacy_step"), lambda value: f"{value:.3f}")),
    "decoder": FieldMeasure("I-Loops", lambda row: _form(row.get("i_loops_mean"), lambda value: f"{value:.0f} %")),
    "detector": FieldMeasure(
        "tracks (association pairs)",
        lambda row: "{} ({})".format(
            *(
                _form((row.get("units_mean") or {}).get(unit), "{:,.0f}".format)
                for unit in ("track_alive", "association_pair")
            )
        ),
    ),
}
"""Efficacy is 1 - the mean share of the network that runs; tracks are those alive, over all frames of a video, pairs
those of a track and an object that association compares."""


def case_table(result: Result, theirs: Mapping[str, Any]) -> StudyTable | None:
    """Return a row for each defense of a case; None if the case was not run."""
    if result.audit is None:
        return None
    summary = result.audit["summary"]
    first = next(row for row in summary if row["kind"] == "attack")
    measure = MEASURES[result.audit["target"]["family"]]
    utility = str(first["utility_name"])
    heads = (
        *("defense", "clean slowdown", f"clean {measure.title}", f"clean {utility}", "clean rejected"),
        *(f"{who}: {what}" for who in ATTACKERS for what in ("slowdown", measure.title, utility, "rejected")),
        *("balanced accuracy at 5 % FPR", "theirs"),
    )
    rows = []
    for name in dict.fromkeys(row["defense"] for row in summary):
        own = [row for row in summary if row["defense"] == name]
        clean = next(row for row in own if row["kind"] == "clean")
        cells = [str(name), *_cells(clean, measure)]
        for who in ATTACKERS:
            worst = costliest([row for row in own if row["attacker"] == (None if name == "none" else who)], "attack")
            cells += _cells(worst or {}, measure)
        rows.append([*cells, _balance(clean, result), _their_figure(result, first, str(name), theirs)])
    remark = f"{first['attack']}, {budget_text(first)}, {_steps(result)}, n = {first['n']}"
    return StudyTable(
        f"{result.case.name}: {result.case.target}", remark, heads, rows, pareto(summary, result.case.name)
    )


def detector_table(results: Sequence[Result], theirs: Mapping[str, Any]) -> StudyTable:
    """Return a row for each case and detector."""
    heads = (
        *("case", "detector", "pairs", "balanced accuracy", "AUROC [95 % CI]", "TPR at 1 % FPR", "TPR at 5 % FPR"),
        *("FLOPs, of a clean input's", "theirs, balanced accuracy"),
    )
    rows = []
    for result in results:
        if result.detectors is None:
            continue
        known = theirs["detectors"].get(_their_name(result, result.case.norm), {})
        said = f"{known['raw']:.1f} %" if known else NONE
        for verdict in result.detectors["verdicts"]:
            between = NONE if verdict["auroc_ci95"] is None else "{:.3f} to {:.3f}".format(*verdict["auroc_ci95"])
            balanced = verdict["balanced_accuracy"]
            rows.append(
                [
                    *(result.case.name, verdict["detector"], str(verdict["count"])),
                    _form(verdict["balanced_accuracy_chosen"] if balanced is None else balanced, percent),
                    f"{verdict['auroc']:.3f} [{between}]",
                    _form(verdict["tpr_1"], percent),
                    _form(verdict["tpr_5"], percent),
                    _share(result.detectors["detectors"][verdict["detector"]]["share"]),
                    said,
                ]
            )
    remark = (
        "Fitted and judged by themselves on pairs of the case's attack; the balanced accuracy is that of the machine's "
        "own threshold, of squeeze and perplexity, which learn from no attack, at the best one on validation pairs"
    )
    return StudyTable("Detectors, judged on their own", remark, heads, rows)


def missing_table(results: Sequence[Result]) -> StudyTable:
    """Return a row for everything that could not be run, with the reason."""
    rows = [
        [result.case.name, name or ("all" if result.audit is None else "anew"), why]
        for result in results
        for name, why in result.missing.items()
    ]
    return StudyTable("Cells that are empty, and why", "", ("case", "defense", "reason"), rows)


def _cells(row: Row, measure: FieldMeasure) -> Cells:
    """Return cost, the field's measure, utility and rejections of a summary row."""
    slowdown = _form(row.get("slowdown_mean"), times)
    return [
        f"{slowdown} {bracket(row)}".strip(),
        measure.of(row),
        _form(row.get("utility"), percent),
        _form(row.get("rejected_rate"), percent),
    ]


def _balance(clean: Row, result: Result) -> str:
    """Return the balanced accuracy of a detector of inputs on what a non-adaptive attacker made costlier."""
    if clean["defense"] not in result.caught:
        return NONE
    count, share = result.caught[clean["defense"]]
    return f"{percent((share + 1 - clean['rejected_rate']) / 2)} ({count})"


def _steps(result: Result) -> str:
    """Say how many iterations the attack took, and how many it takes by default."""
    assert result.audit is not None
    own = getattr(load_attack(result.case.attack, norm=result.case.norm), "steps", None)
    taken = result.audit["config"].get("steps")
    if taken is None or taken == own:
        return "steps as published" if own is None else f"{own} steps, as published"
    return f"{taken} steps" if own is None else f"{taken} of {own} steps"


def _their_name(result: Result, norm: str | None) -> str:
    return f"{result.case.theirs} {norm or ''}".strip()


def _their_figure(result: Result, attacked: Row, defense: str, theirs: Mapping[str, Any]) -> str:
    """Return what the artifact measured in this cell, if anything."""
    if not result.case.theirs:
        return NONE
    if result.case.attack == "slowtrack" and defense in theirs["tracking"]:
        known = theirs["tracking"][defense]
        return f"time {times(known['slowdown'])}, MOTA {known['mota']:.2f} (clean {known['clean_mota']:.2f})"
    detectors = theirs["detectors"].get(_their_name(result, result.case.norm), {})
    if found := theirs["cells"].get(defense):
        values = [
            f"{detectors[key]:.1f} %{' (both transforms mixed)' if 'mixed' in key else ''}"
            for key in found
            if key in detectors
        ]
        return f"balanced accuracy {values[0]}" if values else NONE
    loops = theirs["loops"].get(_their_name(result, str(attacked["norm"])))
    return f"I-Loops {loops:.0f} %" if loops is not None and defense == "none" else NONE


def _share(value: float) -> str:
    """Return a share in per cent, however small or large.

    >>> _share(1.93), _share(0.0000012)
    ('193 %', '0.00012 %')
    """
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def _form(value: object, form: Callable[[float], str]) -> str:
    return NONE if is_missing(value) else form(float(str(value)))
