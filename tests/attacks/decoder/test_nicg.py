from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from torpor.attacks.decoder.nicg_slowdown import NICGSlowDown
from torpor.attacks.decoder.objectives import DelayAndDiverge
from torpor.attacks.registry import load_attack
from torpor.attacks.search.balls import BALLS
from torpor.attacks.search.optimizers import Adam, Change, State, Tanh
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.toy_steps import PeakTarget

END = 0


def signals_of(probabilities: list[list[list[float]]], lengths: list[int]) -> StepSignals:
    """Return signals with the given token probabilities ``[B, T, V]``; token 0 ends."""
    logits = torch.tensor(probabilities, dtype=torch.float64).log()
    mask = torch.arange(logits.shape[1]) < torch.tensor(lengths).unsqueeze(1)
    work = Work(torch.tensor([[1, length] for length in lengths]))
    return StepSignals(logits, logits.argmax(-1), mask, (END,), work)


TWO_STEPS = [[[0.2, 0.5, 0.2, 0.1], [0.6, 0.1, 0.2, 0.1]]]
"""A word with probability 0.5, then the end with 0.6."""


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("both", (-math.log(1 - 0.2 - 0.5) - math.log(1 - 0.6)) / 2),
        ("end", (-math.log(1 - 0.2) - math.log(1 - 0.6)) / 2),
        ("chosen", -math.log(1 - 0.5) / 2),
    ],
)
def test_the_loss_is_the_papers(terms: str, expected: float) -> None:
    objective = DelayAndDiverge(terms)  # type: ignore[arg-type]
    assert objective(signals_of(TWO_STEPS, [2]), 0, {}).item() == pytest.approx(expected, rel=1e-12)


def test_several_end_tokens_count_together() -> None:
    signals = signals_of(TWO_STEPS, [2])
    both = StepSignals(signals.logits, signals.ids, signals.mask, (0, 3), signals.work)
    expected = (-math.log(1 - 0.3 - 0.5) - math.log(1 - 0.7)) / 2
    assert DelayAndDiverge()(both, 0, {}).item() == pytest.approx(expected, rel=1e-12)


def test_steps_after_the_end_carry_no_loss_and_no_gradient() -> None:
    alone = DelayAndDiverge()(signals_of(TWO_STEPS, [2]), 0, {})
    after = [[*TWO_STEPS[0], [0.97, 0.01, 0.01, 0.01]], [[0.1, 0.7, 0.1, 0.1]] * 3]
    signals = signals_of(after, [2, 3])
    logits = signals.logits.clone().requires_grad_()
    losses = DelayAndDiverge()(StepSignals(logits, signals.ids, signals.mask, (END,), signals.work), 0, {})
    assert losses[0].item() == pytest.approx(alone.item(), rel=1e-12)
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 2].abs().max() == 0
    assert logits.grad[0, :2].abs().amax(-1).min() > 0


@pytest.mark.parametrize("logits", [[200.0, -200.0, -200.0, -300.0], [-200.0, 200.0, -200.0, -300.0]])
def test_certain_tokens_have_a_finite_loss_and_a_gradient(logits: list[float]) -> None:
    """The probabilities of end and word round to 1, so ``log(1 - s)`` would be minus infinity."""
    scores = torch.tensor([[logits]], requires_grad=True)
    signals = StepSignals(
        scores, scores.argmax(-1), torch.ones(1, 1, dtype=torch.bool), (END,), Work(torch.ones(1, 2).long())
    )
    loss = DelayAndDiverge()(signals, 0, {})
    loss.sum().backward()
    assert loss.isfinite().all()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad.abs().max() > 0.5


def test_defaults_are_those_of_the_paper() -> None:
    attack = NICGSlowDown()
    assert (attack.norm, attack.eps, attack.iterations, attack.rate) == ("Linf", 0.03, 1000, 6e-3)
    assert NICGSlowDown.radii == {"Linf": 0.03, "L2": 40.0}
    assert NICGSlowDown(steps=5000).rate == 6e-3
    assert NICGSlowDown(steps=50).rate == pytest.approx(0.02)


def test_budgets_scale_to_the_size_of_images() -> None:
    per_value = 40 / math.sqrt(3 * 256 * 256)
    assert NICGSlowDown.default_budget("L2", shape=(3, 256, 256)).eps == 40
    assert NICGSlowDown.default_budget("L2", shape=(1, 20, 30)).eps == pytest.approx(per_value * math.sqrt(600))
    assert NICGSlowDown.default_budget("Linf", shape=(1, 20, 30)).eps == 0.03


def test_the_penalty_is_two_sided_and_a_true_norm() -> None:
    down = torch.tensor([[0.0, -0.05]])
    assert NICGSlowDown(eps=0.03).penalty(down).item() == pytest.approx(100 * 0.02)
    far = torch.tensor([[0.3, 0.4], [0.03, 0.04]])
    assert NICGSlowDown(norm="L2", eps=0.1).penalty(far).tolist() == pytest.approx([100 * 0.4, 0])
    with pytest.raises(UsageError, match="expected terms for nicg-slowdown, got square"):
        load_attack("nicg-slowdown", square=True)


def test_the_first_step_changes_what_is_sent() -> None:
    """A gray image of 8 bits moves by a level in the first step, whatever the number of steps."""
    target = PeakTarget()
    gray = target.space.snap(torch.full((1, 1, 4, 4), 0.6))
    values, slope = Tanh().values(gray), torch.ones(1, 1, 4, 4)
    moved = Adam(NICGSlowDown().rate).step(BALLS["Linf"], values, slope, torch.zeros(1), 0, State(), lambda v: v)
    assert not target.space.snap(gray + Tanh().change(moved, gray)).isclose(gray).any()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_no_change_has_a_finite_penalty_gradient(norm: str) -> None:
    clean, penalty = torch.rand(2, 3, 4, 4), NICGSlowDown(norm=norm).penalty
    gradient = Change().gradient(torch.zeros_like(clean), clean, torch.ones_like(clean), penalty)
    assert gradient.equal(torch.ones_like(clean))


def test_saturated_pixels_give_no_nan() -> None:
    target = PeakTarget()
    half = torch.tensor([0.0, 1.0, 0.4, 0.6]).repeat(4).view(1, 1, 4, 4)
    inputs = target.space.snap(torch.cat([half, torch.zeros_like(half), torch.ones_like(half)]))
    assert Tanh().values(inputs).isfinite().all()
    assert torch.allclose(Tanh().change(Tanh().values(inputs), inputs), torch.zeros(()), atol=2e-6)
    result = NICGSlowDown(eps=0.1, steps=20)(target, inputs)
    assert result.candidates.inputs.isfinite().all()
    assert result.candidates.zero_gradient is not None
    assert not result.candidates.zero_gradient.any()


def test_reparametrization_and_penalty_follow_the_chain_rule() -> None:
    rng = torch.Generator().manual_seed(0)
    clean = 0.1 + 0.8 * torch.rand(2, 1, 3, 3, generator=rng, dtype=torch.float64)
    values = Tanh().values(clean) + 0.3 * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    attack = NICGSlowDown(norm="L2", eps=0.05)
    slope = torch.randn(clean.shape, generator=rng, dtype=torch.float64)

    def total(values: Tensor) -> Tensor:
        images = (values.tanh() + 1) / 2
        distance = (images - clean).flatten(1).square().sum(1).sqrt()
        return (images * slope).sum() + 100 * (distance - 0.05).clamp_min(0).sum()

    expected = torch.autograd.functional.jacobian(total, values)
    assert torch.allclose(Tanh().gradient(values, clean, slope, attack.penalty), expected)


def test_adam_divides_mean_gradients_by_their_size() -> None:
    gradients = torch.randn(12, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, expected, state = torch.zeros(3, 5).double(), torch.zeros(3, 5).double(), State()
    for step in range(12):
        ages = torch.arange(step, -1, -1, dtype=torch.float64).view(-1, 1, 1)
        seen = gradients[: step + 1]
        mean = (0.9**ages * seen).sum(0) / (0.9**ages).sum()
        square = (0.999**ages * seen.square()).sum(0) / (0.999**ages).sum()
        expected = expected - 0.01 * mean / (square.sqrt() + 1e-8)
        values = Adam(0.01).step(BALLS["L2"], values, gradients[step], torch.zeros(3), step, state, lambda moved: moved)
        assert torch.allclose(values, expected, rtol=1e-9)
