from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import UsageError
from torpor.metrics import headroom, mean_headroom


@given(st.lists(st.tuples(*[st.floats(0, 1e12)] * 3), min_size=1))
def test_between_0_and_1_where_clean_cost_and_bound_are_in_order(triples: list[tuple[float, ...]]) -> None:
    clean, cost, static = np.sort(np.array(triples), axis=1).T
    shares = headroom(cost, clean, static)
    defined = shares[~np.isnan(shares)]
    assert ((defined >= 0) & (defined <= 1)).all()
    assert np.isnan(shares[clean == static]).all()


def test_nothing_got_half_got_all_got_and_cheaper() -> None:
    assert headroom([10, 25, 40, 4], [10, 10, 10, 10], 40).tolist() == [0.0, 0.5, 1.0, -0.2]


def test_bounds_may_depend_on_the_sample() -> None:
    assert headroom([2, 2], [1, 1], [3, 2]).tolist() == [0.5, 1.0]


def test_undefined_at_the_worst_case() -> None:
    shares = headroom([5.0, 5.0], [5.0, 4.0], 5.0)
    assert np.isnan(shares[0])
    assert mean_headroom(shares) == 1.0
    assert mean_headroom(shares[:1]) is None


def test_rounding_of_price_sums_is_no_headroom_and_no_violation() -> None:
    total = 0.1 + 0.2  # 0.30000000000000004
    assert np.isnan(headroom([total], [0.3], [0.3])).all()


@pytest.mark.parametrize(("cost", "clean"), [([6.0], [1.0]), ([1.0], [6.0])])
def test_a_bound_that_does_not_hold_is_refused(cost: list[float], clean: list[float]) -> None:
    with pytest.raises(UsageError, match="above it; correct max_work"):
        headroom(cost, clean, 5.0)


def test_lengths_must_agree() -> None:
    with pytest.raises(UsageError, match="one length"):
        headroom([1.0, 1.0], [1.0], [2.0])
