"""Charts against eps of targets that find objects: how much more is found, and how well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_factory import EPS, make_audit
from report_pages import page_of

from torpor.audits.read import read_audit
from torpor.reports.kit.charts import eps_curves
from torpor.reports.sections import section_of


def found(folder: Path, **counts: float) -> dict[str, Any]:
    """Return an audit whose clean rows ran each unit so often, and its others as often more as their eps says."""
    audit: dict[str, Any] = read_audit(make_audit(folder)).parts()
    audit["target"] = {**audit["target"], "family": "detector"}
    for row in audit["summary"]:
        times = 1 + 255 * (row["eps"] or 0)
        row |= {"kept_mean": 2.0 * times, "kept_clean_mean": 2.0, "clean_recall_mean": None, "stage_cost_mean": None}
        row |= {"units_mean": {name: count * times for name, count in counts.items()}}
    return audit


def drawn(audit: dict[str, Any]) -> tuple[list[str], str]:
    """Return the names in the key of the chart of growth, and its HTML."""
    chart = next(chart for chart in eps_curves(audit, section_of(audit).growth) if chart.name == "growth-Linf")
    return [key.name for key in chart.keys], chart.fragment


def test_candidates_are_drawn_as_a_multiple_of_the_clean_ones(tmp_path: Path) -> None:
    names, fragment = drawn(found(tmp_path / "run", backbone=1, candidate=20))
    assert names == ["deepsloth: candidate", "square: candidate", "control-noise: candidate"]
    assert [255 * eps for eps in EPS] == [4, 8]
    assert fragment.count('"y":[5.0,9.0]') == 2


def test_trackers_show_their_tracks_too(tmp_path: Path) -> None:
    names, _ = drawn(found(tmp_path / "run", candidate=20, track_alive=3))
    assert names[:2] == ["deepsloth: candidate", "deepsloth: track_alive"]


def test_nothing_is_divided_by_a_count_of_0(tmp_path: Path) -> None:
    audit = found(tmp_path / "run", candidate=0)
    assert not [chart for chart in eps_curves(audit, section_of(audit).growth) if chart.name == "growth-Linf"]


@pytest.mark.parametrize(("utility", "whole"), [(0.6, True), (-2.8, False)])
def test_a_utility_below_0_is_not_cut_off(tmp_path: Path, utility: float, whole: bool) -> None:
    audit = found(tmp_path / "run", candidate=20)
    audit["summary"][1]["utility"] = utility
    (chart,) = (chart for chart in eps_curves(audit, section_of(audit).growth) if chart.name == "utility-Linf")
    assert ('"range":[0,103]' in chart.fragment) == whole


def test_other_targets_have_no_such_chart(tmp_path: Path) -> None:
    assert "chart-growth-Linf" not in page_of(make_audit(tmp_path / "run")).ids()
