from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap

from torpor.core.errors import UsageError
from torpor.metrics import bootstrap_ci95, interval95, tails
from torpor.metrics.tails import CHUNK

Floats = NDArray[np.float64]
finite = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@given(finite)
def test_tails_match_order_statistics_computed_by_hand(values: list[float]) -> None:
    result = tails(values)
    ordered = sorted(values)

    def at(q: float) -> float:
        place = q * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    expected = [sum(values) / len(values), at(0.5), at(0.95), at(0.99), ordered[-1]]
    np.testing.assert_allclose([result.mean, result.p50, result.p95, result.p99, result.max], expected, atol=1e-6)
    assert result.p50 <= result.p95 <= result.p99 <= result.max


@pytest.mark.parametrize("values", [[], [1.0, float("nan")]])
def test_nothing_or_nan_is_refused(values: list[float]) -> None:
    with pytest.raises(UsageError):
        tails(values)
    with pytest.raises(UsageError):
        bootstrap_ci95(values)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_interval_agrees_with_scipy(statistic: np.ufunc) -> None:
    values = np.random.default_rng(3).exponential(2.0, size=200)
    reference = bootstrap(
        (values,), statistic, n_resamples=20_000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    ours = bootstrap_ci95(values, statistic, resamples=20_000)
    np.testing.assert_allclose(ours, reference, rtol=0.02)


def test_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    generator = np.random.default_rng(0)
    trials = 400
    hits = 0
    for _ in range(trials):
        low, high = bootstrap_ci95(generator.normal(5.0, 2.0, size=60), resamples=400)
        hits += low <= 5.0 <= high
    assert 0.91 <= hits / trials <= 0.98  # 95 % less what the percentile method loses at n = 60, +- 3 standard errors


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_ci95(values, seed=1) == bootstrap_ci95(values, seed=1) != bootstrap_ci95(values, seed=2)


def test_large_sets_are_resampled_in_bounded_pieces() -> None:
    values = np.random.default_rng(0).normal(size=50_000)
    sizes: list[int] = []

    def mean(a: Floats, /, *, axis: int) -> Floats:
        sizes.append(a.size)
        result: Floats = a.mean(axis=axis)
        return result

    low, high = bootstrap_ci95(values, mean, resamples=100)
    assert max(sizes) <= CHUNK
    assert sum(sizes) == 100 * len(values)
    assert low < values.mean() < high


@given(finite)
def test_interval_lies_within_the_values(values: list[float]) -> None:
    low, high = bootstrap_ci95(values, np.median, resamples=50)
    assert min(values) <= low <= high <= max(values)


@given(st.floats(1.0, 50.0), st.integers(2, 60))
def test_equal_values_have_an_interval_of_no_width_at_their_mean(value: float, count: int) -> None:
    low, high = bootstrap_ci95([value] * count)
    assert low == high == tails([value] * count).mean


def test_one_value_has_no_interval_and_none_is_refused() -> None:
    assert interval95([3.0]) is None
    assert interval95([3.0, 4.0]) == bootstrap_ci95([3.0, 4.0])
    assert interval95([1.0, 2.0, 9.0], np.median) == bootstrap_ci95([1.0, 2.0, 9.0], np.median)
    for values in ([], [float("nan")], [1.0, float("inf")]):
        with pytest.raises(UsageError):
            interval95(values)


def test_resamples_must_be_positive() -> None:
    with pytest.raises(UsageError, match="at least 1 resample"):
        bootstrap_ci95([1.0], resamples=0)
