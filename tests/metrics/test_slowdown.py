from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import UsageError
from torpor.metrics import slowdown


def test_ratios_are_taken_sample_by_sample() -> None:
    assert slowdown([30, 10, 5], [10, 10, 10]).tolist() == [3.0, 1.0, 0.5]


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, 10**12)), min_size=1))
def test_at_least_one_where_the_attack_did_not_make_samples_cheaper(pairs: list[tuple[int, int]]) -> None:
    clean = np.array([base for base, _ in pairs])
    extra = np.array([more for _, more in pairs])
    ratios = slowdown(clean + extra, clean)
    assert (ratios >= 1).all()
    np.testing.assert_allclose(ratios * clean, clean + extra)


@pytest.mark.parametrize(
    ("cost", "clean", "message"),
    [
        ([1.0], [0.0], "clean costs above 0"),
        ([-1.0], [1.0], "costs of 0 or more"),
        ([1.0, 1.0], [1.0], "one length"),
        ([float("nan")], [1.0], "finite"),
    ],
)
def test_impossible_costs_are_refused(cost: list[float], clean: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        slowdown(cost, clean)
