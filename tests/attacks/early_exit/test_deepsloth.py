from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from attack_cases import Counting, images, noise, random_net
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.attacks.iterative import amplify
from torpor.attacks.registry import load_attack
from torpor.attacks.search.balls import BALLS, L1, apply
from torpor.attacks.search.objectives import CloseGates, Labeled, Objective, UniformExits, WrongClass
from torpor.attacks.search.optimizers import Change, ShrinkingBall, Steps
from torpor.core.signals import GateSignals
from torpor.core.work import Work
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import WindowTarget, needle


def signals_of(logits: torch.Tensor) -> GateSignals:
    count, exits, _ = logits.shape
    return GateSignals(logits, logits[:, :-1].amax(-1) - 0.5, Work(torch.ones(count, exits, dtype=torch.int64)))


def log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    high = logits.max(-1, keepdims=True)
    return np.asarray(logits - high - np.log(np.exp(logits - high).sum(-1, keepdims=True)))


def test_defaults_are_those_of_the_paper() -> None:
    linf, l2, l1 = (load_attack("deepsloth", norm=norm) for norm in ("Linf", "L2", "L1"))
    assert isinstance(linf, DeepSloth)
    assert isinstance(l2, DeepSloth)
    assert isinstance(l1, DeepSloth)
    assert (linf.eps, linf.iterations, l2.iterations, l1.eps, l1.iterations) == (0.03125, 30, 550, 8.0, 250)
    step, spread = linf.optimizer(), l1.optimizer()
    assert isinstance(step, Steps)
    assert step.size == pytest.approx(0.002)
    assert linf.start_radius() == pytest.approx(0.002)
    assert isinstance(spread, Steps)
    assert spread.size == pytest.approx(0.5)
    ball = BALLS["L1"]
    assert isinstance(ball, L1)
    assert ball.keep == 0.01
    shrinking = l2.optimizer()
    assert isinstance(shrinking, ShrinkingBall)
    assert (shrinking.shrink, shrinking.period) == (0.1, 50)
    assert l2.eps == pytest.approx(0.9**10)
    assert shrinking.radius(0, l2.eps) == l2.start_radius() == pytest.approx(1.0)
    assert shrinking.radius(549, l2.eps) == l2.eps


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 6), st.integers(2, 12), st.floats(0.1, 30))
def test_the_objective_is_the_papers(seed: int, count: int, exits: int, classes: int, scale: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, exits, classes, generator=rng, dtype=torch.float64)
    each = -log_softmax(logits.numpy())[:, :-1].mean(-1) - math.log(classes)
    labels = torch.zeros(count, dtype=torch.int64)
    losses = UniformExits()(signals_of(logits), labels)
    assert losses.numpy() == pytest.approx(each.sum(1), rel=1e-9)
    assert (losses >= -1e-9).all()


def test_the_final_classifier_is_no_part_of_the_objective() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    UniformExits()(signals_of(logits), torch.zeros(2, dtype=torch.int64)).sum().backward()
    assert logits.grad is not None
    assert logits.grad[:, -1].abs().max() == 0
    assert (logits.grad[:, :-1].abs().amax(-1) > 0).all()


def test_saturated_softmaxes_still_have_gradients() -> None:
    logits = torch.tensor([[[500.0, -500.0], [0.0, 0.0]]], requires_grad=True)
    UniformExits()(signals_of(logits), torch.tensor([0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].abs().min() > 0.1


def test_gates_at_the_threshold_still_have_gradients() -> None:
    margins = torch.tensor([[0.0, -0.04, -0.06]], requires_grad=True)
    signals = GateSignals(torch.zeros(1, 4, 2), margins, Work(torch.ones(1, 4, dtype=torch.int64)))
    CloseGates(0.05)(signals, torch.tensor([0])).sum().backward()
    assert margins.grad is not None
    assert margins.grad.tolist() == [[1.0, 1.0, 0.0]]


def test_accuracy_attacks_raise_cross_entropies() -> None:
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 4, 2])
    each = np.array([[-log_softmax(logits[i, k].numpy())[labels[i]] for k in range(4)] for i in range(3)])
    for exits, expected in (("final", each[:, -1]), ("avg", each.mean(1)), ("max", each.max(1))):
        loss = WrongClass(exits)(signals_of(logits), labels)  # type: ignore[arg-type]
        assert (-loss).numpy() == pytest.approx(expected, abs=1e-5)


def test_samples_at_the_static_bound_leave_the_batch() -> None:
    """Means of 0.5 are at the bound at once, 0.6 needs a few steps, 0.9 never gets there."""
    target = Counting(needle())
    inputs = target.space.snap(torch.tensor([0.5, 0.6, 0.9, 0.5]).view(4, 1, 1, 1).expand(4, 1, 4, 4).contiguous())
    attack = DeepSloth(eps=0.1)
    result = attack(target, inputs, references=torch.zeros(4, dtype=torch.int64))
    assert result.attacked.work.counts.sum(1).tolist() == [4, 4, 1, 4]
    spent = result.candidates.forwards.tolist()
    assert spent[0] == spent[3] == 1
    assert 1 < spent[1] < 31
    assert spent[2] == 31
    assert target.forwards == [4] + [2] * (spent[1] - 1) + [1] * (31 - spent[1])
    assert result.candidates.backwards.tolist() == [count - 1 for count in spent]


def test_samples_outside_the_budget_stay_in_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first L2 balls are larger than the budget: what they reach counts for nothing."""
    eps = 0.9
    target = Counting(needle())
    inputs = target.space.snap(torch.full((1, 1, 4, 4), 0.8))  # the last window is 0.26 away, an L2 distance of 1.04
    seen: list[int] = []
    inner = target.inner.signals

    def spy(images: torch.Tensor) -> GateSignals:
        signals = inner(images)
        seen.append(int(signals.work.counts.sum()))
        return signals

    monkeypatch.setattr(target.inner, "signals", spy)
    result = DeepSloth(norm="L2", eps=eps)(target, inputs, references=torch.tensor([0]))
    assert max(seen) == 4, "the test is pointless unless an iterate outside the budget is at the static bound"
    assert result.candidates.forwards.tolist() == [551]
    assert result.attacked.work.counts.sum().item() < 4
    assert (result.inputs - inputs).norm() <= eps * (1 + 1e-5)


class Surer:
    """The objective turned round, so that iterates get cheaper and cheaper."""

    def __call__(self, signals: GateSignals, labels: torch.Tensor) -> torch.Tensor:
        return -UniformExits()(signals, labels)


def search(norm: str, objective: Objective, steps: int) -> tuple[list[float], list[float]]:
    """Return the costs of random starts, and of the best that ``steps`` steps from there find."""
    target = random_net(4, (1, 8, 9), seed=3)
    inputs, labels = images(target, 12)
    eps, ball = {"Linf": 0.1, "L2": 0.8, "L1": 4.0}[norm], BALLS[norm]
    start = noise(norm, eps, inputs)
    found = amplify(
        target,
        inputs,
        objective=Labeled(objective, labels),
        ball=ball,
        eps=eps,
        optimizer=Steps(0.3 * eps),
        steps=steps,
        variable=Change(),
        start=start,
    )
    first = apply(inputs, start, ball, eps, target.space)
    before, after = (target.prices.cost(target.run(batch).work).tolist() for batch in (first, found.inputs))
    return before, after


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_more_steps_never_cost_less(norm: str) -> None:
    costs = [search(norm, UniformExits(), steps)[1] for steps in (1, 2, 3, 5, 8, 13)]
    for fewer, more in pairwise(costs):
        assert all(later >= earlier for earlier, later in zip(fewer, more, strict=True))
    assert sum(costs[-1]) > sum(costs[0])


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_the_best_iterate_is_kept_when_all_others_are_worse(norm: str) -> None:
    before, after = search(norm, Surer(), 8)
    assert all(later >= earlier for earlier, later in zip(before, after, strict=True))


@pytest.mark.parametrize("steps", [1, 2, 7, 30, 1000])
def test_any_number_of_steps_can_spend_the_linf_and_l1_budgets(steps: int) -> None:
    for name in ("deepsloth", "pgd", "pgd-avg", "pgd-max"):
        for norm in ("Linf", "L1"):
            attack = load_attack(name, norm=norm, eps=0.5, steps=steps)
            optimizer = attack.optimizer()  # type: ignore[attr-defined]
            assert isinstance(optimizer, Steps)
            assert optimizer.size * steps >= attack.eps


@pytest.mark.parametrize(("mean", "sign"), [(0.9, -1), (0.1, 1)])
def test_the_whole_budget_can_be_spent_in_both_directions(mean: float, sign: int) -> None:
    target = needle()
    inputs = target.space.snap(torch.full((1, 1, 4, 4), mean))
    for steps in (None, 3):
        found = DeepSloth(eps=8 / 255, steps=steps)(target, inputs, references=torch.tensor([0])).candidates.inputs
        assert ((found - inputs) * 255).round().flatten().tolist() == [8 * sign] * 16


def test_gradients_that_are_mostly_zero_are_flagged(digits_target: EarlyExitTarget) -> None:
    masked = WindowTarget([0.5], [0.2], name="masked")
    for _, head in masked.blocks:
        torch.nn.init.zeros_(head.weight)  # type: ignore[arg-type]
        torch.nn.init.constant_(head.bias[:1], 9.0)  # type: ignore[index]
    inputs = torch.full((2, 1, 4, 4), 0.2)
    flags = DeepSloth()(masked, inputs).candidates.zero_gradient
    assert flags is not None
    assert flags.tolist() == [True, True]
    honest = DeepSloth(steps=2)(digits_target, torch.rand(2, 1, 32, 32)).candidates.zero_gradient
    assert honest is not None
    assert honest.tolist() == [False, False]
