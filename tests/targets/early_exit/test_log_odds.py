"""Margins that attacks follow decide as the deployed rule does, and keep a gradient where the softmax is saturated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torpor.targets.early_exit.exit_rules import Confidence, Entropy, ExitRule, Patience, lead, log_entropy

RULES = [Confidence(0.05), Confidence(0.6), Confidence(0.99), Confidence(1.0), Entropy(0.0), Entropy(0.3), Patience(1)]


@pytest.mark.parametrize("rule", RULES)
@given(seed=st.integers(0, 2**20), scale=st.sampled_from([0.0, 0.01, 1.0, 10.0, 1000.0]))
def test_the_sign_is_that_of_the_deployed_decision(rule: ExitRule, seed: int, scale: float) -> None:
    logits = scale * torch.randn(16, 3, 5, generator=torch.Generator().manual_seed(seed))
    for exits in (1, 2, 3):
        decided = rule.margin(logits[:, :exits]) >= 0
        assert (rule.log_odds(logits[:, :exits]) >= 0).equal(decided)


@pytest.mark.parametrize("rule", [Confidence(0.6), Entropy(0.3), Patience(1)])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_gradient_lasts(rule: ExitRule, scale: float) -> None:
    logits = (scale * torch.tensor([[[0.0, 4.0, 1.0], [0.5, 3.0, 0.0]]])).requires_grad_()
    (gradient,) = torch.autograd.grad(rule.log_odds(logits).sum(), logits)
    assert gradient.abs().amax() > 0.1
    assert gradient[..., 1].sum() > 0


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=6))
def test_log_odds_and_entropy_are_those_of_the_softmax(values: list[float]) -> None:
    logits = torch.tensor([values], dtype=torch.float64)
    p = logits.softmax(-1)
    assert lead(logits).item() == pytest.approx((p.amax() / (p.sum() - p.amax())).log().item(), abs=1e-4)
    assert log_entropy(logits).item() == pytest.approx(torch.special.entr(p).sum().log().item(), abs=1e-4)
