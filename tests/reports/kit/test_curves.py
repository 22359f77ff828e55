"""Curves in a report: medians and quartiles over samples, and the sketch of one sample."""

from __future__ import annotations

import json
import re

from torpor.attacks.search.incumbent import Improvement
from torpor.audits.curves import SampleCurve, seconds_of
from torpor.reports.kit.charts import best_so_far, searches
from torpor.reports.kit.money import best_for_money
from torpor.reports.kit.plots import Series
from torpor.reports.samples.sample import effort, sketched

ROW = {"attack": "a", "kind": "attack"}
SERIES = Series((ROW,), "a", "#0072b2")


def curve(sample: int, *points: tuple[int, float], passes: int = 100) -> SampleCurve:
    return SampleCurve(sample, 2.0, 2.0, passes, 0, tuple(Improvement(*point) for point in points))


def test_the_line_is_the_median_of_the_best_so_far() -> None:
    curves = [curve(0), curve(1, (10, 4.0)), curve(2, (10, 4.0), (50, 8.0)), curve(3, (1, 6.0)), curve(4, (100, 10.0))]
    chart = best_so_far([(SERIES, curves)], "FLOPs")
    assert chart is not None
    found = re.search(r"Plotly.newPlot\(\s*\"[^\"]*\",\s*(\[.*?\]),\s*\{", chart.fragment, re.DOTALL)
    assert found is not None
    low, high, middle = json.loads(found[1])
    at = {passes: place for place, passes in enumerate(middle["x"])}
    assert middle["y"][at[1]] == 1.0
    assert [line["y"][at[100]] for line in (low, middle, high)] == [2.0, 3.0, 4.0]  # of 1, 2, 4, 3, 5
    assert middle["y"] == sorted(middle["y"])


def test_there_is_no_chart_without_searches() -> None:
    assert best_so_far([(SERIES, [])], "FLOPs") is None
    assert best_so_far([(SERIES, [curve(0, (1, 4.0), passes=1)])], "FLOPs") is None


def test_what_was_found_is_drawn_against_what_it_cost() -> None:
    def billed(sample: int, spent: float, *points: tuple[int, float, float]) -> SampleCurve:
        found = tuple(Improvement(passes, cost, "", paid) for passes, cost, paid in points)
        return SampleCurve(sample, 2.0, 2.0, 100, 0, found, spent=spent)

    curves = [billed(0, 500.0), billed(1, 800.0, (1, 4.0, 8.0)), billed(2, 1000.0, (2, 6.0, 20.0), (50, 8.0, 640.0))]
    chart = best_for_money([(SERIES, curves)], "tokens")
    assert chart is not None
    found = re.search(r"Plotly.newPlot\(\s*\"[^\"]*\",\s*(\[.*?\]),\s*\{", chart.fragment, re.DOTALL)
    assert found is not None
    low, high, middle = json.loads(found[1])
    assert (middle["x"][0], middle["x"][-1]) == (4.0, 1000.0)
    assert [line["y"][0] for line in (low, middle, high)] == [1.0] * 3
    assert [line["y"][-1] for line in (low, middle, high)] == [1.5, 2.0, 3.0]  # of 1, 2 and 4
    after = dict(zip(middle["x"], middle["y"], strict=True))
    assert {slowdown for spent, slowdown in after.items() if spent < 20.0} == {1.0}
    assert {slowdown for spent, slowdown in after.items() if spent >= 20.0} == {2.0}
    unbilled = curve(0, (1, 4.0))
    assert best_for_money([(SERIES, [unbilled])], "tokens") is None
    assert best_for_money([(SERIES, [billed(0, 0.0, (1, 4.0, 0.0))])], "tokens") is None
    assert [each.name for each in searches([SERIES], lambda row: curves, "t")] == [
        "best-so-far",
        "best-for-cost",
    ]
    assert [each.name for each in searches([SERIES], lambda row: [unbilled], "t")] == ["best-so-far"]


def test_the_sketch_rises_from_left_to_right_within_its_frame() -> None:
    drawn = sketched(curve(0, (10, 4.0), (50, 8.0)))
    path = re.search(r' d="([^"]+)"', drawn)
    assert path is not None
    across = [float(value) for value in re.findall(r"H([\d.]+)", path[1])]
    up = [float(value) for value in re.findall(r"V([\d.]+)", path[1])]
    assert across == sorted(across)
    assert across[-1] == 236
    assert up == sorted(up, reverse=True)
    assert up[-1] == 4


def test_effort_says_when_nothing_was_found_and_how_long_it_took() -> None:
    assert effort(curve(0), "1.5 s") == "100 passes (100 forward, 0 backward) in 1.5 s, nothing found"


def test_seconds_are_unknown_where_batches_do_not_add_up() -> None:
    samples = {"read": 3, "seconds": {"a": [4.0, 1.0]}}
    assert seconds_of(samples, 2, "a") == [2.0, 2.0, 1.0]
    assert seconds_of(samples, 3, "a") == seconds_of(samples, 2, "b") == seconds_of(None, 2, "a") == []
