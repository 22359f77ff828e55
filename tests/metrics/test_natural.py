from __future__ import annotations

import numpy as np
import pytest

from torpor.core.errors import UsageError
from torpor.metrics import benign_percentile


def test_the_costliest_thousandth_is_left_out() -> None:
    costs = np.arange(10_001, dtype=float)
    np.random.default_rng(0).shuffle(costs)
    assert benign_percentile(costs) == pytest.approx(9990)
    assert (costs > benign_percentile(costs)).sum() == 10


def test_few_inputs_put_it_between_the_two_costliest() -> None:
    assert 9 < benign_percentile(range(11)) <= 10
    assert benign_percentile([4.0]) == 4.0


def test_other_shares_may_be_asked_for() -> None:
    assert benign_percentile([1.0, 2.0, 4.0], 0.5) == 2.0
    assert benign_percentile([1.0, 2.0, 4.0], 1.0) == 4.0


@pytest.mark.parametrize(("costs", "q"), [([1.0], 99.9), ([], 0.5), ([float("nan")], 0.5)])
def test_impossible_questions_are_refused(costs: list[float], q: float) -> None:
    with pytest.raises(UsageError):
        benign_percentile(costs, q)
