from __future__ import annotations

import json

import numpy as np
import pytest

from torpor.core.errors import UsageError
from torpor.metrics import CostSummary, bootstrap_ci95, efficacy_eec, headroom, slowdown

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
        "flops": cost,
        "flops_clean": clean,
        "flops_static": static,
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


def summarize(*batches: dict[str, np.ndarray], costs: np.ndarray | None = COSTS) -> dict[str, object]:
    summary = CostSummary()
    for batch in batches:
        summary.update(batch)
    return summary.compute(costs)


def test_one_sample_has_no_interval() -> None:
    assert summarize(records(1))["slowdown_ci95"] is None
    assert summarize(records(1), records(1))["slowdown_ci95"] is not None


def test_every_number_against_the_columns() -> None:
    batch = records(300)
    row = summarize(batch)
    ratios = batch["flops"] / batch["flops_clean"]
    room = batch["flops_clean"] < 100
    expected = {
        "n": 300,
        "flops_mean": batch["flops"].mean(),
        "flops_clean_mean": batch["flops_clean"].mean(),
        "flops_static": 100.0,
        "slowdown_mean": ratios.mean(),
        "slowdown_p50": np.quantile(ratios, 0.5),
        "slowdown_p95": np.quantile(ratios, 0.95),
        "slowdown_p99": np.quantile(ratios, 0.99),
        "slowdown_max": ratios.max(),
        "slowdown_ci95": list(bootstrap_ci95(ratios)),
        "headroom_mean": ((batch["flops"] - batch["flops_clean"])[room] / (100 - batch["flops_clean"][room])).mean(),
        "efficacy_eec": efficacy_eec(batch["exit"], COSTS),
        "efficacy_step": 1 - batch["flops"].mean() / 100,
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


def test_batches_add_up_to_the_whole() -> None:
    batch = records(50)
    parts = [{name: column[piece] for name, column in batch.items()} for piece in (slice(0, 7), slice(7, 50))]
    assert summarize(*parts) == summarize(batch)


def test_a_row_is_json_without_nan() -> None:
    row = summarize(records(20))
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_what_is_not_defined_is_none() -> None:
    batch = records(5) | {"headroom": np.full(5, np.nan)}
    row = summarize(batch, costs=None)
    assert [row[key] for key in ("headroom_mean", "efficacy_eec", "efficacy_step", "exit_histogram")] == [None] * 4
    free = summarize(batch, costs=np.full(3, np.nan))
    assert (free["efficacy_eec"], free["efficacy_step"]) == (None, None)
    assert free["exit_histogram"] is not None


def test_targets_without_exits_need_no_exit_column() -> None:
    batch = records(5)
    del batch["exit"]
    assert summarize(batch, costs=None)["exit_histogram"] is None
    with pytest.raises(UsageError, match="column exit in every batch"):
        summarize(batch)


def test_faulty_batches_are_refused_and_leave_no_trace() -> None:
    summary = CostSummary()
    good = records(5)
    for faulty, message in [
        ({name: column for name, column in good.items() if name != "l2"}, "got none for l2"),
        (good | {"slowdown": np.full(5, np.nan)}, "finite slowdown"),
        (good | {"l1": np.zeros(4)}, "one length"),
        (good | {"exit": np.zeros(4, dtype=int)}, "one length"),
    ]:
        with pytest.raises(UsageError, match=message):
            summary.update(faulty)
    with pytest.raises(UsageError, match="at least one batch"):
        summary.compute(COSTS)
    summary.update(good)
    assert summary.compute(COSTS) == summarize(good)


def test_the_static_bound_of_a_row_is_what_no_sample_can_exceed() -> None:
    batch = records(3) | {"flops_static": np.array([100, 300, 200])}
    assert summarize(batch)["flops_static"] == 300.0
