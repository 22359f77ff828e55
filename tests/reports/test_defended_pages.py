"""What a report says of defenses, in words and figures."""

from __future__ import annotations

import numpy as np
import pytest

from torpor.reports.defended import sentences
from torpor.reports.kit import charts
from torpor.reports.kit.plots import Series
from torpor.reports.kit.tables import effort_table

RECORDS = {
    "defense": ["none", "none", "jpeg"],
    "slowdown": [2.0, 3.0, 9.0],
    "cost_static": [10.0, 10.0, 11.0],
    "cost_clean": [2.0, 5.0, 1.0],
}


def test_a_defense_that_is_not_shown_to_help_is_said_to_be_paid_for() -> None:
    clean = {"kind": "clean", "attack": "clean", "utility_name": "accuracy", "utility": 0.9, "slowdown_mean": 1.0}
    attack = {"kind": "attack", "attack": "pgd", "norm": "Linf", "eps": 0.1, "slowdown_mean": 6.0}
    bare = [{**clean, "defense": "none"}, {**attack, "defense": "none", "slowdown_ci95": [5.0, 7.0]}]
    through = {**attack, "defense": "jpeg", "attacker": "adaptive", "slowdown_mean": 5.5, "slowdown_ci95": [4.5, 6.5]}
    for overhead, said in (
        (7.19, "the intervals overlap, and clean inputs pay for it."),
        (1.02, "the intervals overlap."),
    ):
        (sentence,) = sentences([*bare, {**clean, "defense": "jpeg", "slowdown_mean": overhead}, through])
        assert f"Defended by jpeg: not shown to help, {said} Worst known mean slowdown 5.50x" in sentence
        assert f"clean inputs cost {overhead:.2f}x" in sentence


def test_the_effort_of_who_does_not_know_of_a_defense_is_no_row() -> None:
    attack = {"kind": "attack", "attack": "pgd", "norm": "Linf", "eps": 0.1, "n": 2, "forwards": 4, "backwards": 4}
    rows = [
        {**attack, "defense": "jpeg", "attacker": who, "attack_seconds": 1.0} for who in ("non-adaptive", "adaptive")
    ]
    ((label, _, _),) = effort_table({"summary": rows, "target": {"inputs": "image"}}).body
    assert label == "pgd, Linf 0.1, against jpeg, adaptive"


def test_the_static_bound_of_a_chart_is_that_of_the_rows_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    records = {name: np.array(values) for name, values in RECORDS.items()}
    monkeypatch.setattr(charts, "rows_of", lambda records, row: records["defense"] == row["defense"])
    drawn = charts.slowdown_distribution([Series(({"defense": "none"},), "pgd", "#000")], records, "FLOPs")
    assert [key.name for key in drawn.keys] == ["pgd", "static bound of the cheapest sample 5.00x"]
