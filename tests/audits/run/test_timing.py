from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from torpor.audits.run import timing
from torpor.audits.run.timing import time_pairs
from torpor.meters.clock import Clock
from torpor.meters.wall_clock import Call, LatencyPair, paired_latency
from torpor.targets.early_exit.toys import needle


@pytest.mark.parametrize(("limit", "timed", "repeats"), [(1e-9, 3, 3), (1e9, 16, 6)])
def test_slow_targets_are_timed_on_fewer_samples_and_less_often(
    limit: float, timed: int, repeats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[LatencyPair] = []

    def listen(pairs: Sequence[tuple[Call, Call]], clock: Clock, *, warmup: int, repeats: int) -> LatencyPair:
        heard.append(paired_latency(pairs, clock, warmup=warmup, repeats=repeats))
        return heard[-1]

    monkeypatch.setattr(timing, "TIMED_S", limit)
    monkeypatch.setattr(timing, "paired_latency", listen)
    pixels = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 1, 4, 4)
    found = time_pairs(needle(), needle(), {"index": torch.arange(20), "clean": pixels, "attacked": pixels})
    assert found["latency_n"] == timed
    assert found["latency_s_p50"] > 0
    assert [each.repeats for each in heard] == [repeats]


def test_an_audit_that_begins_late_is_timed_too() -> None:
    pixels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    found = time_pairs(needle(), needle(), {"index": torch.arange(40, 43), "clean": pixels, "attacked": pixels})
    assert found["latency_n"] == 3
