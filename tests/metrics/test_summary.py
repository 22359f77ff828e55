from __future__ import annotations

import json

import numpy as np
import pytest

from torpor.core.errors import UsageError
from torpor.metrics import bootstrap_ci95, cost_summary, efficacy_eec, exit_summary, headroom, slowdown

COSTS = np.array([0.25, 0.5, 1.0])


def records(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw records of an early-exit target with a static bound of 100 FLOPs."""
    generator = np.random.default_rng(seed)
    before = generator.integers(0, 3, n)
    after = np.maximum(before, generator.integers(0, 3, n))
    clean, cost, static = 100 * COSTS[before], 100 * COSTS[after], np.full(n, 100)
    return {
        "sample": np.arange(n),
        "slowdown": slowdown(cost, clean),
        "headroom": headroom(cost, clean, static),
        "cost": cost,
        "cost_clean": clean,
        "cost_static": static,
        "utility": generator.integers(0, 2, n).astype(float),
        "agreement": generator.integers(0, 2, n).astype(bool),
        "exit": after,
        "linf": generator.random(n),
        "l2": generator.random(n),
        "l1": generator.random(n),
        "edits": generator.integers(0, 4, n).astype(float),
        "similarity": generator.random(n),
        "forwards": generator.integers(0, 100, n),
        "backwards": generator.integers(0, 100, n),
    }


def summarize(batch: dict[str, np.ndarray], costs: np.ndarray = COSTS) -> dict[str, object]:
    return cost_summary(batch) | exit_summary(batch["exit"], costs)


def test_one_sample_has_no_interval() -> None:
    assert summarize(records(1))["slowdown_ci95"] is None
    assert summarize(records(2))["slowdown_ci95"] is not None


def test_every_number_against_the_columns() -> None:
    batch = records(300)
    row = summarize(batch)
    ratios = batch["cost"] / batch["cost_clean"]
    room = batch["cost_clean"] < 100
    expected = {
        "n": 300,
        "cost_mean": batch["cost"].mean(),
        "cost_clean_mean": batch["cost_clean"].mean(),
        "cost_static": 100.0,
        "slowdown_mean": ratios.mean(),
        "slowdown_p50": np.quantile(ratios, 0.5),
        "slowdown_p95": np.quantile(ratios, 0.95),
        "slowdown_p99": np.quantile(ratios, 0.99),
        "slowdown_max": ratios.max(),
        "slowdown_ci95": list(bootstrap_ci95(ratios)),
        "headroom_mean": ((batch["cost"] - batch["cost_clean"])[room] / (100 - batch["cost_clean"][room])).mean(),
        "efficacy_eec": efficacy_eec(batch["exit"], COSTS),
        "efficacy_step": 1 - batch["cost"].mean() / 100,
        "exit_histogram": [(batch["exit"] == k).sum() for k in range(3)],
        "utility": batch["utility"].mean(),
        "agreement": batch["agreement"].mean(),
        "linf_max": batch["linf"].max(),
        "l2_mean": batch["l2"].mean(),
        "l1_mean": batch["l1"].mean(),
        "edits_mean": batch["edits"].mean(),
        "similarity_mean": batch["similarity"].mean(),
        "forwards": batch["forwards"].sum(),
        "backwards": batch["backwards"].sum(),
    }
    assert row.keys() == expected.keys()
    for key, value in expected.items():
        assert row[key] == pytest.approx(value), key


def test_a_row_is_json_without_nan() -> None:
    row = summarize(records(20))
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_what_is_not_defined_is_none() -> None:
    batch = records(5) | {"headroom": np.full(5, np.nan)}
    assert cost_summary(batch)["headroom_mean"] is None
    free = summarize(batch, costs=np.full(3, np.nan))
    assert (free["efficacy_eec"], free["efficacy_step"]) == (None, None)
    assert free["exit_histogram"] is not None


def test_faulty_columns_are_refused() -> None:
    good = records(5)
    for faulty, message in [
        ({name: column for name, column in good.items() if name != "l2"}, "got none for l2"),
        (good | {"slowdown": np.full(5, np.nan)}, "finite slowdown"),
        (good | {"l1": np.zeros(4)}, "one length"),
        ({name: column[:0] for name, column in good.items()}, "at least one"),
    ]:
        with pytest.raises(UsageError, match=message):
            cost_summary(faulty)


def test_the_static_bound_of_a_row_is_what_no_sample_can_exceed() -> None:
    batch = records(3) | {"cost_static": np.array([100, 300, 200])}
    assert summarize(batch)["cost_static"] == 300.0
