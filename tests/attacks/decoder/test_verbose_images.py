from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from torpor.attacks.decoder.objectives import Verbose, nuclear_norm
from torpor.attacks.decoder.verbose_images import Momentum, VerboseImages
from torpor.attacks.search.balls import BALLS
from torpor.attacks.search.optimizers import State
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.toy_steps import PeakTarget

END = 0
WORK = Work(torch.tensor([[1, 2]]))


def two_steps(after: int = 0) -> StepSignals:
    """Return two steps whose losses are easily worked out, and some that were never run."""
    rows = [[0.25, 0.75, 0.0], [0.5, 0.25, 0.25], *[[0.9, 0.05, 0.05]] * after]
    states = [[3.0, 0.0], [4.0, 5.0], *[[7.0, 7.0]] * after]
    logits = torch.tensor([rows], dtype=torch.float64).clamp_min(1e-300).log()
    mask = torch.arange(2 + after).unsqueeze(0) < 2
    return StepSignals(
        logits, logits.argmax(-1), mask, (END,), WORK, hidden=torch.tensor([states], dtype=torch.float64)
    )


@pytest.mark.parametrize("after", [0, 2])
def test_the_three_losses_are_the_papers(after: int) -> None:
    end, uncertain, varied = Verbose().losses(two_steps(after))
    assert end.item() == pytest.approx((0.25 + 0.5) / 2)
    first = 0.25 * math.log(0.25 * 3) + 0.75 * math.log(0.75 * 3)
    second = 0.5 * math.log(0.5 * 3) + 2 * 0.25 * math.log(0.25 * 3)
    assert uncertain.item() == pytest.approx(first + second)
    assert varied.item() == pytest.approx(-(math.sqrt(45) + math.sqrt(5)))


def test_the_divergence_is_not_the_released_codes_unless_asked() -> None:
    logits = torch.tensor([[[0.5, 0.3, 0.2]]], dtype=torch.float64).log()
    mask = torch.ones(1, 1, dtype=torch.bool)
    signals = StepSignals(logits, logits.argmax(-1), mask, (END,), WORK, hidden=torch.ones(1, 1, 2))
    forward = sum(p * math.log(3 * p) for p in (0.5, 0.3, 0.2))
    backward = sum(math.log(1 / (3 * p)) / 3 for p in (0.5, 0.3, 0.2))
    assert Verbose().losses(signals)[1].item() == pytest.approx(forward)
    assert Verbose(reverse=True).losses(signals)[1].item() == pytest.approx(backward)
    assert forward != pytest.approx(backward, rel=0.01)


def test_the_nuclear_norm_and_its_gradient() -> None:
    matrix = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert nuclear_norm(matrix).item() == pytest.approx(torch.linalg.matrix_norm(matrix, "nuc").item())
    ours = torch.autograd.grad(nuclear_norm(matrix), matrix)[0]
    assert torch.allclose(ours, torch.autograd.grad(torch.linalg.matrix_norm(matrix, "nuc"), matrix)[0])
    flat = torch.ones(3, 2, requires_grad=True)  # equal rows: rank 1
    assert nuclear_norm(flat).item() == pytest.approx(math.sqrt(6))
    assert torch.autograd.grad(nuclear_norm(flat), flat)[0].isfinite().all()


def test_weights_follow_the_schedule_without_its_pole() -> None:
    losses = torch.tensor([[0.5, 3.0, -2.0]], dtype=torch.float64)
    for step in range(40):
        first, second, third = Verbose().weights(losses, step)[0].tolist()
        raw = abs(10 * math.log(step + 1) - 20)
        assert first == pytest.approx(6.0 / max(raw, 1))
        assert second == 1
        assert third == pytest.approx(1.5 / (0.5 * math.log(step + 1) + 1))
        assert first <= 6
    assert min(abs(10 * math.log(step + 1) - 20) for step in range(40)) < 0.8  # the pole is there
    assert Verbose().weights(torch.zeros(1, 3), 3).isfinite().all()


def test_weights_come_from_the_iteration_before_and_are_smoothed() -> None:
    objective, state = Verbose(), State()
    signals = two_steps()
    losses = torch.stack(objective.losses(signals), 1)
    start = objective.weights(losses, 0)
    assert objective(signals, 0, state).item() == pytest.approx((start * losses).sum().item())
    state["losses"] = losses * torch.tensor([2.0, 1, 1], dtype=torch.float64)
    now = objective.weights(state["losses"], 1)
    expected = ((0.9 * start + 0.1 * now) * losses).sum()
    assert objective(signals, 1, state).item() == pytest.approx(expected.item())
    assert state["losses"].equal(losses)
    assert not state["weights"].requires_grad


def test_candidates_of_equal_cost_are_ranked_by_the_end_token() -> None:
    signals = two_steps()
    assert Verbose().rank(signals, torch.tensor([99.0])).item() == pytest.approx(0.375)


def test_momentum_adds_normalized_gradients() -> None:
    optimizer, state, ball = Momentum(0.1), State(), BALLS["Linf"]
    loss = torch.zeros(1)
    first, second = torch.tensor([[3.0, -1.0]]), torch.tensor([[-200.0, -200.0]])
    moved = optimizer.step(ball, torch.zeros(1, 2), first, loss, 0, state, lambda delta: delta)
    assert moved.tolist() == [pytest.approx([-0.1, 0.1])]
    moved = optimizer.step(ball, moved, second, loss, 1, state, lambda delta: delta)
    assert state["momentum"].tolist() == [pytest.approx([0.9 * 0.75 - 0.5, -0.9 * 0.25 - 0.5])]
    assert moved.tolist() == [pytest.approx([-0.2, 0.2])]
    still = optimizer.step(ball, torch.zeros(1, 2), torch.zeros(1, 2), loss, 0, State(), lambda delta: delta)
    assert still.equal(torch.zeros(1, 2))


def test_defaults_are_those_of_the_paper() -> None:
    attack = VerboseImages()
    assert (attack.norm, attack.eps, attack.iterations) == ("Linf", 8 / 255, 1000)
    assert VerboseImages.radii == {"Linf": 8 / 255}


def test_decoders_without_hidden_states_are_refused() -> None:
    class Closed(PeakTarget):
        def signals(self, inputs: torch.Tensor) -> StepSignals:
            return replace(super().signals(inputs), hidden=None)

    with pytest.raises(UsageError, match="expected a decoder that shows its hidden states"):
        VerboseImages(steps=2)(Closed(), torch.full((1, 1, 4, 4), 0.4))
