from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc

from torpor.core.errors import UsageError
from torpor.metrics import eec_floor, efficacy_eec, efficacy_step, exit_histogram


@st.composite
def exits_and_costs(draw: st.DrawFn) -> tuple[list[int], list[float]]:
    """Draw the exits that some samples took and rising costs that end in 1."""
    stages = draw(st.lists(st.floats(0.01, 100), min_size=1, max_size=12))
    exits = draw(st.lists(st.integers(0, len(stages) - 1), min_size=1, max_size=40))
    costs = np.cumsum(stages) / np.sum(stages)
    costs[-1] = 1.0
    return exits, costs.tolist()


def test_histogram_counts_every_exit() -> None:
    counts = exit_histogram(np.array([0, 2, 2, 0, 0]), 4)
    assert counts.tolist() == [3, 0, 2, 0]
    assert counts.dtype == np.int64


@pytest.mark.parametrize("exits", [[], [-1], [3], [0.0], [[0]]])
def test_impossible_exits_are_refused(exits: list[int]) -> None:
    with pytest.raises(UsageError, match="exit index from 0 to 2"):
        exit_histogram(exits, 3)


@given(exits_and_costs())
def test_step_form_is_one_minus_the_mean_cost(case: tuple[list[int], list[float]]) -> None:
    exits, costs = case
    mean = sum(costs[k] for k in exits) / len(exits)
    assert efficacy_step(exits, costs) == pytest.approx(1 - mean, abs=1e-12)


@given(exits_and_costs())
def test_trapezoid_form_is_the_area_that_sklearn_finds(case: tuple[list[int], list[float]]) -> None:
    exits, costs = case
    left = [0.0] + [sum(taken <= k for taken in exits) / len(exits) for k in range(len(costs))]
    assert efficacy_eec(exits, costs) == pytest.approx(auc([0.0, *costs], left), abs=1e-12)


@given(exits_and_costs())
def test_the_forms_differ_by_half_the_width_of_the_exit_taken(case: tuple[list[int], list[float]]) -> None:
    exits, costs = case
    widths = np.diff([0.0, *costs])
    gap = efficacy_eec(exits, costs) - efficacy_step(exits, costs)
    assert gap == pytest.approx(widths[exits].mean() / 2, abs=1e-12)
    assert gap >= 0


@given(exits_and_costs())
def test_never_exiting_scores_zero_in_steps_and_the_floor_in_trapezoids(case: tuple[list[int], list[float]]) -> None:
    exits, costs = case
    never = [len(costs) - 1] * len(exits)
    assert efficacy_step(never, costs) == 0
    assert efficacy_eec(never, costs) == pytest.approx(eec_floor(costs), abs=1e-12)
    assert efficacy_eec(exits, costs) >= eec_floor(costs) - 1e-12


def test_four_equal_exits_have_a_floor_of_an_eighth() -> None:
    assert eec_floor([0.25, 0.5, 0.75, 1.0]) == 0.125
    assert efficacy_eec([3, 3], [0.25, 0.5, 0.75, 1.0]) == 0.125


def test_a_network_without_early_exits_spares_nothing() -> None:
    assert efficacy_step([0, 0], [1.0]) == 0
    assert efficacy_eec([0, 0], [1.0]) == eec_floor([1.0]) == 0.5


@pytest.mark.parametrize("costs", [[0.5, 0.4, 1.0], [0.5, 0.9], [-0.1, 1.0], [float("nan"), 1.0], []])
def test_costs_that_do_not_rise_to_one_are_refused(costs: list[float]) -> None:
    for metric in (efficacy_step, efficacy_eec):
        with pytest.raises(UsageError, match="exit costs"):
            metric([0], costs)
    with pytest.raises(UsageError, match="exit costs"):
        eec_floor(costs)
