"""Criteria compose, and judge at their limits inclusively."""

from __future__ import annotations

import numpy as np
import pytest

from torpor.core import Evidence, PreservesPrediction, ReachesStaticBound, Slowdown, UsageError

EVIDENCE = Evidence(
    cost=np.array([1.0, 2.0, 3.0, 4.0]),
    clean=np.ones(4),
    static=np.full(4, 4.0),
    agrees=np.array([True, True, False, False]),
)


def test_each_criterion_judges_every_sample() -> None:
    assert Slowdown(2)(EVIDENCE).tolist() == [False, True, True, True]
    assert ReachesStaticBound()(EVIDENCE).tolist() == [False, False, False, True]
    assert PreservesPrediction()(EVIDENCE).tolist() == [True, True, False, False]


def test_criteria_compose() -> None:
    both = Slowdown(2) & PreservesPrediction()
    either = ReachesStaticBound() | both
    assert both(EVIDENCE).tolist() == [False, True, False, False]
    assert either(EVIDENCE).tolist() == [False, True, False, True]
    assert str(either) == "(static bound reached or (slowdown >= 2 and prediction kept))"


@pytest.mark.parametrize("ratio", [0.5, float("nan")])
def test_a_slowdown_below_one_is_refused(ratio: float) -> None:
    with pytest.raises(UsageError, match="expected a slowdown of 1 or more"):
        Slowdown(ratio)
