from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from torpor.attacks.search.balls import BALLS, Ball
from torpor.attacks.search.optimizers import AutoSteps, Optimizer, ShrinkingBall, State, Steps

EPS = 0.9**10


def descend(
    optimizer: Optimizer, slope: Callable[[Tensor], Tensor], loss: Callable[[Tensor], Tensor], start: Tensor, steps: int
) -> list[list[float]]:
    """Return every point of a descent in the interval [-1, 1]."""
    ball, state, delta = BALLS["Linf"], State(), start.view(-1, 1)
    path = [delta.flatten().tolist()]
    for step in range(steps):
        value = loss(delta).flatten()
        delta = optimizer.step(ball, delta, slope(delta), value, step, state, lambda point: point.clamp(-1, 1))
        path.append(delta.flatten().tolist())
    return path


def apgd(target: float, start: float, steps: int) -> list[float]:
    """Follow Algorithm 1 of Croce and Hein (ICML 2020) on ``|x - target|`` in [-1, 1], one number at a time."""
    marks = [0, 22]
    while marks[-1] <= 100:
        marks.append(marks[-1] + max(marks[-1] - marks[-2] - 3, 6))
    checkpoints = {math.ceil(mark * steps / 100) for mark in marks[1:] if mark <= 100}

    def value(x: float) -> float:
        return abs(x - target)

    def clip(x: float) -> float:
        return min(1.0, max(-1.0, x))

    size, x, path = 2.0, start, [start]
    best, best_loss, rises, mark, mark_loss, halved = start, value(start), 0, 0, value(start), True
    before = start
    for step in range(steps):
        if step and value(x) < value(path[step - 1]):
            rises += 1
        if value(x) < best_loss:
            best, best_loss = x, value(x)
        if step in checkpoints:
            halve = rises < 0.75 * (step - mark) or (not halved and best_loss >= mark_loss)
            size, halved, mark, mark_loss, rises = size / 2 if halve else size, halve, step, best_loss, 0
            x = best if halve else x
        moved = clip(x - size * float((x > target) - (x < target)))
        blend = 0.75 if step else 1.0
        following = clip(x + blend * (moved - x) + (1 - blend) * (x - before))
        before, x = x, following
        path.append(x)
    return path


@pytest.mark.parametrize(("target", "start"), [(0.3, -0.9), (-0.77, 1.0), (0.05, 0.04), (1.0, -1.0)])
def test_auto_steps_follow_the_published_algorithm(target: float, start: float) -> None:
    loss = lambda x: (x - target).abs()  # noqa: E731
    slope = lambda x: (x - target).sign()  # noqa: E731
    begin = torch.tensor([start], dtype=torch.float64)
    path = descend(AutoSteps(50, 1.0), slope, loss, begin, 50)
    assert [point[0] for point in path] == pytest.approx(apgd(target, start, 50), abs=1e-12)
    assert min(abs(point[0] - target) for point in path) < 0.1


def test_auto_steps_halve_each_sample_on_its_own() -> None:
    targets = torch.tensor([[0.3], [1.0]], dtype=torch.float64)
    loss, slope = lambda x: (x - targets).abs(), lambda x: (x - targets).sign()
    both = descend(AutoSteps(40, 1.0), slope, loss, torch.tensor([-0.9, 0.2], dtype=torch.float64), 40)
    assert [point[0] for point in both] == pytest.approx(apgd(0.3, -0.9, 40), abs=1e-12)
    assert [point[1] for point in both] == pytest.approx(apgd(1.0, 0.2, 40), abs=1e-12)


def test_checkpoints_of_a_hundred_steps() -> None:
    assert sorted(AutoSteps(100, 1.0).checkpoints()) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_the_ball_shrinks_by_a_tenth_every_fifty_steps_from_one() -> None:
    schedule = ShrinkingBall(550, EPS)
    radii = [schedule.radius(step, EPS) for step in range(551)]
    for period in range(11):
        assert radii[50 * period : 50 * period + 50] == pytest.approx([0.9**period] * 50)
    assert radii[550] == EPS == pytest.approx(0.3487, abs=1e-4)


@pytest.mark.parametrize(("scale", "count"), [(1e-6, 1), (1.0, 1), (1e4, 7)])
def test_l2_steps_have_the_scheduled_length_whatever_the_gradient_and_the_batch(scale: float, count: int) -> None:
    schedule, ball = ShrinkingBall(550, EPS), BALLS["L2"]
    gradient = scale * torch.randn(count, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    for step, share in ((0, 1.0), (275, 0.505), (549, 0.01)):
        moved = schedule.step(ball, torch.zeros_like(gradient), gradient, torch.ones(count), step, {}, lambda x: x)
        assert torch.allclose(ball.norm(moved), torch.full((count,), share), atol=1e-4)
        assert ((moved * gradient).flatten(1).sum(1) < 0).all()


@pytest.mark.parametrize("ball", list(BALLS.values()))
def test_plain_steps_have_the_norm_they_say(ball: Ball) -> None:
    gradient = torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    moved = Steps(0.25).step(ball, torch.zeros_like(gradient), gradient, torch.ones(3), 0, {}, lambda x: x)
    assert torch.allclose(ball.norm(moved), torch.full((3,), 0.25))
