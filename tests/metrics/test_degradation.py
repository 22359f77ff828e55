from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import UsageError
from torpor.metrics.degradation import degradation


@given(st.lists(st.tuples(st.booleans(), st.floats(1, 9), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_losses_are_those_of_a_plain_loop(rows: list[tuple[bool, float, float, float]]) -> None:
    found = degradation(*zip(*rows, strict=True))
    changed = [row for row in rows if not row[0]]
    assert (found.samples, found.changed) == (len(rows), len(changed))
    assert found.share == pytest.approx(len(changed) / len(rows))
    assert found.hurt == sum(before > after for *_, before, after in rows)
    assert found.worst_loss == max(before - after for *_, before, after in rows)
    assert found.utility_loss == pytest.approx(sum(before - after for *_, before, after in rows) / len(rows))
    if changed:
        assert found.utility_before == pytest.approx(sum(before for *_, before, _ in changed) / len(changed))
        assert found.utility_after == pytest.approx(sum(after for *_, after in changed) / len(changed))
        mean = sum(flops for _, flops, *_ in rows) / len(rows)
        assert found.cost_ratio == pytest.approx(sum(flops for _, flops, *_ in changed) / len(changed) / mean)
    else:
        assert found.utility_before is found.utility_after is found.cost_ratio is None


def test_what_is_unknown_is_none() -> None:
    found = degradation([False, True], [1.0, 3.0], [math.nan, math.nan], [math.nan, math.nan])
    assert (found.share, found.utility_loss, found.worst_loss, found.hurt) == (0.5, None, None, None)
    assert found.cost_ratio == 0.5
    with pytest.raises(UsageError):
        degradation([True], [1.0], [1.0, 1.0], [1.0, 1.0])
    with pytest.raises(UsageError):
        degradation([], [], [], [])
