"""Curves and rates of detectors, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from torpor.core.errors import UsageError
from torpor.metrics.roc import auroc, auroc_ci95, balanced_accuracy, best_threshold, flagged, threshold_at

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)  # few values, so many ties


@given(SCORES, SCORES, st.integers(-6, 6))
def test_areas_and_accuracies_are_those_of_scikit_learn(
    clean: list[float], attacked: list[float], threshold: int
) -> None:
    labels = np.repeat([0, 1], [len(clean), len(attacked)])
    scores = np.array(clean + attacked)
    assert auroc(clean, attacked) == pytest.approx(roc_auc_score(labels, scores))
    wanted = balanced_accuracy_score(labels, scores > threshold)
    assert balanced_accuracy(clean, attacked, threshold) == pytest.approx(wanted)


@given(SCORES, SCORES)
def test_no_threshold_is_better_than_the_best(clean: list[float], attacked: list[float]) -> None:
    best = balanced_accuracy(clean, attacked, best_threshold(clean, attacked))
    assert best >= max(balanced_accuracy(clean, attacked, cut + 0.5) for cut in range(-7, 7)) - 1e-12


@given(SCORES, st.sampled_from([0.05, 0.1, 0.3, 0.5]))
def test_a_threshold_keeps_its_promise_where_it_was_calibrated(clean: list[float], fpr: float) -> None:
    if (len(clean) + 1) * fpr < 1:
        with pytest.raises(UsageError, match="clean inputs or more"):
            threshold_at(clean, fpr)
    else:
        assert flagged(clean, threshold_at(clean, fpr)) <= fpr


def test_new_inputs_are_flagged_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    rates = [flagged(row[99:], threshold_at(row[:99], 0.05)) for row in rng.normal(size=(2000, 199))]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.003)


def test_the_interval_of_an_area_covers_it() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        low, high = auroc_ci95(rng.normal(size=60), 1 + rng.normal(size=60), resamples=200)
        hits += low <= 0.7602 <= high  # Phi(1 / sqrt 2)
    assert hits >= 85


def test_bad_scores_are_refused() -> None:
    for bad in ([], [np.nan]):
        with pytest.raises(UsageError, match="scores"):
            auroc([0.0], bad)
    with pytest.raises(UsageError, match="rate between"):
        threshold_at([0.0], 1.5)
    with pytest.raises(UsageError, match="resample"):
        auroc_ci95([0.0], [1.0], resamples=0)
