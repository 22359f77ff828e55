"""The benchmark's table, on scans whose order is known."""

from __future__ import annotations

from typing import Any

from benchmarks.scan.recipes import AS_IS
from benchmarks.scan.specimens import KINDS, specimens
from benchmarks.scan.table import share, table


def found(values: list[float]) -> list[dict[str, Any]]:
    return [{"figures": {"natural_cost": value, "cost_shift": 0.0}} for value in values]


def test_models_that_all_cost_more_are_told_apart() -> None:
    clean = [0.1 * number for number in range(11)]
    rows = table("toy", {"clean": found(clean), "tampered": found([9.0] * 4), "aware": found([0.5] * 2)}, 0.1)
    both, without, natural, shift = rows
    assert "| 1.00 [1.00, 1.00] | 4 of 4 [40 %, 100 %] |" in both
    assert both.endswith("0 of 2 [0 %, 84 %] |")
    assert without.split("|")[3:] == natural.split("|")[3:]
    assert "| 0.50 [0.50, 0.50] | 0 of 4" in shift
    assert share([True, True, False, False]) == "2 of 4 [7 %, 93 %]"


def test_there_are_enough_models_of_each_kind_and_the_zoos_own() -> None:
    for kind, recipes in KINDS.items():
        chosen = list(specimens(kind))
        groups = [each.group for each in chosen]
        assert groups.count("clean") >= 19  # of which one may be above the threshold at a rate of 10 %
        assert groups.count("tampered") == 10
        assert chosen[0].recipe == AS_IS
        assert len({each.name for each in chosen}) == len(chosen)
        assert all(len(set(group)) == len(group) for group in recipes.values())
