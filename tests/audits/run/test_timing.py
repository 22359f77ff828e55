from __future__ import annotations

import pytest
import torch

from torpor.audits.run import timing
from torpor.audits.run.timing import time_pairs
from torpor.targets.early_exit.toys import needle


@pytest.mark.parametrize(("limit", "timed"), [(1e-9, 4), (1e9, 16)])
def test_slow_targets_are_timed_on_fewer_samples(limit: float, timed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TIMED_S", limit)
    pixels = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 1, 4, 4)
    found = time_pairs(needle(), needle(), {"index": torch.arange(20), "clean": pixels, "attacked": pixels})
    assert found["latency_n"] == timed
    assert found["latency_s_p50"] > 0


def test_an_audit_that_begins_late_is_timed_too() -> None:
    pixels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    found = time_pairs(needle(), needle(), {"index": torch.arange(40, 43), "clean": pixels, "attacked": pixels})
    assert found["latency_n"] == 3
