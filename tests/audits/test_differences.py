"""What two audits differ in: intervals of paired and unpaired samples, and changes of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from torpor.audits.differences import changed_plan, differences
from torpor.audits.read import SavedAudit

ROW = {"attack": "pgd", "kind": "attack", "defense": "none", "norm": "L2", "eps": 1.0, "n": 200, "flags": []}
COLUMNS = ("sample", "slowdown", "cost", "headroom", "utility")


@dataclass(frozen=True, eq=False)
class HeldAudit(SavedAudit):
    """An audit with records in memory."""

    held: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS

    def load_records(self, columns: Any = None, row: Any = None) -> pa.Table:  # noqa: ANN401
        return pa.table({name: self.held[name] for name in columns})


def audit(slowdown: np.ndarray, identity: dict[str, Any] | None, **config: Any) -> HeldAudit:  # noqa: ANN401
    count = len(slowdown)
    held = {"sample": list(range(count)), "slowdown": slowdown.tolist(), "cost": (100 * slowdown).tolist()}
    held |= {"headroom": [None] * count, "utility": [1.0] * count}
    config = {"split": "test", **config}
    return HeldAudit(Path("run"), config, {"name": "toy"}, {}, None, [ROW], identity=identity, held=held)


SLOW = 1 + np.random.default_rng(0).gamma(2.0, 2.0, 200)
KNOWN = {"data": "abc"}


def test_a_small_shift_of_the_same_samples_is_significant_and_of_others_it_is_not() -> None:
    paired = {each.measure: each for each in differences(audit(SLOW, KNOWN), audit(SLOW + 0.05, KNOWN))}
    assert set(paired) == {"slowdown", "cost", "utility"}  # headroom was not measured
    slower = paired["slowdown"]
    assert slower.paired
    assert slower.significant
    assert slower.low == pytest.approx(0.05)
    assert slower.high == pytest.approx(0.05)
    assert not paired["utility"].significant
    alone = {each.measure: each for each in differences(audit(SLOW, None), audit(SLOW + 0.05, None))}
    assert not alone["slowdown"].paired
    assert not alone["slowdown"].significant
    low, high = alone["slowdown"].low, alone["slowdown"].high
    assert low is not None
    assert high is not None
    error = SLOW.std() * np.sqrt(2 / 200)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_one_sample_has_no_interval() -> None:
    found = list(differences(audit(SLOW[:1], KNOWN), audit(SLOW[:1] + 9, KNOWN)))
    assert [(each.low, each.high, each.significant) for each in found] == [(None, None, False)] * 3


def test_samples_are_paired_by_their_number() -> None:
    short = audit(SLOW[:50], KNOWN)
    (found,) = [each for each in differences(audit(SLOW, KNOWN), short) if each.measure == "slowdown"]
    assert (found.n, found.before, found.after) == (50, found.after, found.before)


def test_the_plan_says_what_changed() -> None:
    one, two = audit(SLOW, {"data": "abc"}, seed=0, eps=[0.5]), audit(SLOW, {"data": "xyz"}, seed=0, eps=[0.5, 1.0])
    assert changed_plan(one, two) == [("eps", "0.5", "0.5, 1"), ("content of the data", "abc", "xyz")]
    assert changed_plan(one, one) == []
