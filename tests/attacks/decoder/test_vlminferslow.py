from __future__ import annotations

import math

import pytest
import torch

from torpor.attacks.decoder.vlminferslow import VLMInferSlow, slowness
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.toy_steps import PeakTarget

END = 0


@pytest.mark.parametrize("after", [0, 2])
def test_slowness_is_the_papers(after: int) -> None:
    rows = [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], *[[0.9, 0.05, 0.05]] * after]
    logits = torch.tensor([rows], dtype=torch.float64).log()
    mask = torch.arange(2 + after).unsqueeze(0) < 2
    signals = StepSignals(logits, logits.argmax(-1), mask, (END,), Work(torch.tensor([[1, 2]])))
    ends = 0.1 * 0.2 + 0.6
    apart = [sum(p * math.log(3 * p) for p in row) for row in rows[:2]]
    assert slowness(signals).item() == pytest.approx(2 - ends - sum(apart) / 2)


def test_only_the_likeliest_hundred_tokens_are_compared() -> None:
    logits = torch.full((1, 1, 150), -30.0, dtype=torch.float64)
    logits[..., 1:101] = 0
    mask = torch.ones(1, 1, dtype=torch.bool)
    signals = StepSignals(logits, torch.tensor([[1]]), mask, (END,), Work(torch.tensor([[1, 1]])))
    assert slowness(signals).item() == pytest.approx(1, abs=1e-9)


def test_a_toy_talks_longer_without_gradients_and_queries_are_counted() -> None:
    target = PeakTarget(cap=28)
    inputs = torch.full((2, *target.space.shape), 0.4).mul(255).round() / 255
    result = VLMInferSlow(eps=0.1, steps=8, pairs=2)(target, inputs)
    assert (target.iterations(result.attacked.work) > target.iterations(result.clean.work)).all()
    assert (result.candidates.forwards <= 8 * 5).all()
    assert VLMInferSlow(steps=8, pairs=2).queries == 8 * 5
    assert VLMInferSlow().queries == 1100
    assert result.candidates.curves is not None
    assert all(result.candidates.curves)
    assert (result.candidates.backwards == 0).all()
    assert result.candidates.zero_gradient is None


def test_nothing_to_try_is_refused() -> None:
    with pytest.raises(UsageError, match="expected 1 step and 1 pair or more, got 3 and 0"):
        VLMInferSlow(steps=3, pairs=0)
