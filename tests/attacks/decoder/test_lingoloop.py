from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from torpor.attacks.decoder.lingoloop import Entrap, LingoLoop, state_norms
from torpor.attacks.search.optimizers import State
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.toy_steps import PeakTarget

END = 0
WORK = Work(torch.tensor([[1, 3]]))


def three_steps(after: int = 0, norms: tuple[float, ...] = (3.0, 5.0, 1.0)) -> StepSignals:
    """Return steps that say 1, 1 and the end, and some that were never run."""
    rows = [[0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.6, 0.2, 0.2], *[[0.9, 0.05, 0.05]] * after]
    logits = torch.tensor([rows], dtype=torch.float64).log()
    size = torch.tensor([[*norms, *[9.0] * after]], dtype=torch.float64)
    return StepSignals(logits, logits.argmax(-1), torch.arange(3 + after).unsqueeze(0) < 3, (END,), WORK, norms=size)


@pytest.mark.parametrize("after", [0, 2])
def test_steps_count_as_much_as_the_end_was_likely_after_the_token_before(after: int) -> None:
    weights = Entrap().weights(three_steps(after), State())[0, :3]
    each = torch.tensor([0.1, 0.4, 0.4])  # first; twice after token 1: (.2 + .6) / 2
    assert torch.allclose(weights, each / each.mean())


def test_what_was_seen_at_earlier_iterations_counts() -> None:
    state, objective = State(), Entrap()
    objective.weights(three_steps(), state)
    other = torch.tensor([[[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]]], dtype=torch.float64).log()
    short = StepSignals(other, torch.tensor([[1, END]]), torch.ones(1, 2, dtype=torch.bool), (END,), WORK)
    each = torch.tensor([(0.1 + 0.7) / 2, (0.2 + 0.6 + 0.5) / 3])
    assert torch.allclose(objective.weights(short, state)[0], each / each.mean())


@pytest.mark.parametrize("step", [0, 7])
def test_repetition_weighs_as_much_as_the_schedule_says(step: int) -> None:
    signals = three_steps(1)
    ends = float((Entrap().weights(signals, State())[0, :3] * torch.tensor([0.1, 0.2, 0.6])).mean())
    loss = Entrap(growth=0.5, base=1.0)(signals, step, State()).item()
    assert loss == pytest.approx(ends + ends * (0.5 * math.log(step + 1) + 1), rel=1e-5)


def test_both_terms_have_a_gradient() -> None:
    signals = three_steps()
    logits, norms = signals.logits.clone().requires_grad_(), torch.tensor([[3.0, 5.0, 1.0]]).requires_grad_()
    Entrap()(replace(signals, logits=logits, norms=norms), 0, State()).sum().backward()
    assert logits.grad is not None
    assert norms.grad is not None
    assert (logits.grad[..., END] > 0).all()  # less likely ends, smaller states
    assert (norms.grad > 0).all()


def test_norms_of_the_last_layer_stand_in_for_those_of_all() -> None:
    signals = replace(three_steps(), norms=None, hidden=torch.tensor([[[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]]]))
    assert state_norms(signals)[0].tolist() == pytest.approx([5.0, 1.0, 0.0], abs=1e-5)
    with pytest.raises(UsageError, match="expected a decoder that shows its hidden states"):
        Entrap()(replace(signals, hidden=None), 0, State())


def test_outputs_of_a_toy_reach_their_cap() -> None:
    target = PeakTarget(cap=28)
    inputs = torch.full((1, *target.space.shape), 0.4).mul(255).round() / 255
    result = LingoLoop(eps=0.1, steps=20)(target, inputs)
    assert target.iterations(result.attacked.work).item() > target.iterations(result.clean.work).item()


def test_defaults_are_those_of_the_paper() -> None:
    attack = LingoLoop()
    assert (attack.norm, attack.eps, attack.iterations) == ("Linf", 8 / 255, 300)
