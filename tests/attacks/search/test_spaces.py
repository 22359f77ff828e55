from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from torpor.attacks.search.balls import BALLS, L1, Ball, apply, ball_of, check_budget
from torpor.attacks.search.frames import PerFrame
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.space import ImageSpace, VideoSpace

RADII = {"Linf": st.floats(1 / 255, 0.5), "L2": st.floats(0.05, 3), "L1": st.floats(0.1, 20)}


@st.composite
def deltas(draw: st.DrawFn, norm: str) -> tuple[Ball, Tensor, float]:
    """Draw a ball, a few perturbations of different sizes, and a radius."""
    seed, side = draw(st.integers(0, 2**31)), draw(st.integers(2, 7))
    rng = torch.Generator().manual_seed(seed)
    scale = torch.tensor(draw(st.lists(st.floats(1e-3, 2), min_size=3, max_size=3))).view(3, 1, 1, 1)
    return BALLS[norm], scale * torch.randn(3, 2, side, side + 1, generator=rng), draw(RADII[norm])


def nearest(norm: str, point: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Project by another road than torpor's: root finding for the soft threshold instead of sorting."""
    if norm == "Linf":
        return np.asarray(np.clip(point, -radius, radius))
    if norm == "L2":
        return np.asarray(point / max(1.0, np.sqrt(np.square(point).sum()) / radius))
    if np.abs(point).sum() <= radius:
        return point

    def shrunk(theta: float) -> NDArray[np.float64]:
        return np.asarray(np.sign(point) * np.maximum(np.abs(point) - theta, 0))

    return shrunk(brentq(lambda theta: np.abs(shrunk(theta)).sum() - radius, 0, np.abs(point).max(), xtol=1e-14))


@pytest.mark.parametrize("norm", list(BALLS))
@given(data=st.data())
def test_projection_is_the_nearest_point_of_the_ball(norm: str, data: st.DataObject) -> None:
    ball, delta, radius = data.draw(deltas(norm))
    projected = ball.project(delta, radius)
    for row, expected in zip(projected, delta.to(torch.float64), strict=True):
        reference = nearest(norm, expected.numpy().ravel(), radius)
        assert row.numpy().ravel() == pytest.approx(reference, abs=2e-5)
    assert (ball.norm(projected) <= radius * (1 + 1e-5)).all()


@pytest.mark.parametrize("norm", list(BALLS))
@given(data=st.data())
def test_snap_never_leaves_ball_or_grid(norm: str, data: st.DataObject) -> None:
    ball, delta, radius = data.draw(deltas(norm))
    snapped = ball.snap(ball.project(delta, radius), radius, 255)
    whole = (snapped.to(torch.float64) * 255).round()
    assert (whole / 255 - snapped).abs().max() < 1e-6
    assert (ball.norm(whole / 255) <= ball.spendable(radius, 255) * (1 + 3e-6)).all()
    assert (whole * delta >= 0).all()
    assert ball.snap(snapped, radius, 255).equal(snapped)


@pytest.mark.parametrize("norm", list(BALLS))
@given(data=st.data())
def test_snap_loses_little_of_perturbations_that_pixels_can_hold(norm: str, data: st.DataObject) -> None:
    ball, delta, radius = data.draw(deltas(norm))
    projected = ball.project(delta, radius)
    assume((projected.abs() > 4 / 255).any())
    kept = projected[projected.abs() > 4 / 255].abs().sum()
    snapped = ball.snap(projected, radius, 255)
    assert snapped[projected.abs() > 4 / 255].abs().sum() >= 0.74 * kept


@pytest.mark.parametrize("norm", list(BALLS))
@given(data=st.data())
def test_steepest_direction_has_norm_one_and_no_better_rival(norm: str, data: st.DataObject) -> None:
    ball, gradient, _ = data.draw(deltas(norm))
    direction = ball.steepest(gradient)
    assert torch.allclose(ball.norm(direction), torch.ones(3), atol=1e-4)
    generators = [torch.Generator().manual_seed(row) for row in range(3)]
    rival = ball.random(generators, 1.0, gradient)
    best, other = ((gradient * step).flatten(1).sum(1) for step in (direction, rival))
    assert (best >= other - 1e-4).all()


def test_l1_steps_move_the_share_of_pixels_with_the_largest_gradients() -> None:
    gradient = torch.arange(1.0, 201).view(1, 2, 10, 10)
    moved = L1(keep=0.05).steepest(gradient)
    assert moved.flatten().nonzero().flatten().tolist() == list(range(190, 200))
    assert moved.max() == pytest.approx(0.1)


@pytest.mark.parametrize("norm", list(BALLS))
def test_a_zero_gradient_moves_nothing(norm: str) -> None:
    zero = torch.zeros(2, 1, 3, 3)
    assert BALLS[norm].steepest(zero).equal(zero)
    assert BALLS[norm].project(zero, 1.0).equal(zero)


@pytest.mark.parametrize("norm", list(BALLS))
@given(data=st.data())
def test_applied_perturbations_are_images_within_the_ball(norm: str, data: st.DataObject) -> None:
    ball, delta, radius = data.draw(deltas(norm))
    space = ImageSpace((2, *delta.shape[2:]))
    clean = space.snap(torch.rand(delta.shape, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1)
    sent = apply(clean, delta, ball, radius, space)
    assert space.from_bytes(space.to_bytes(sent)).equal(sent)
    whole = ((sent - clean).to(torch.float64) * 255).round() / 255
    assert (ball.norm(whole) <= ball.spendable(radius, 255) * (1 + 3e-6)).all()


def test_budgets_below_one_level_are_refused() -> None:
    space = ImageSpace((1, 2, 2))
    check_budget(Budget("Linf", 1 / 255), space)
    with pytest.raises(UsageError, match="at least 1/255"):
        check_budget(Budget("L2", 0.99 / 255), space)


@pytest.mark.parametrize("norm", list(BALLS))
@given(data=st.data())
def test_budgets_of_videos_hold_for_each_frame(norm: str, data: st.DataObject) -> None:
    ball, delta, radius = data.draw(deltas(norm))
    space = VideoSpace((3, *delta.shape[1:]))
    whole, videos = ball_of(Budget(norm, radius), space), delta.unsqueeze(0)
    assert whole == PerFrame(ball)
    assert ball_of(Budget(norm, radius), space.frame) == ball
    for of_videos, of_frames in (
        (whole.project(videos, radius), ball.project(delta, radius)),
        (whole.steepest(videos), ball.steepest(delta)),
        (whole.snap(whole.project(videos, radius), radius, 255), ball.snap(ball.project(delta, radius), radius, 255)),
    ):
        assert of_videos.equal(of_frames.unsqueeze(0))
    assert whole.norm(videos).equal(ball.norm(delta).amax(0, keepdim=True))
    clean = torch.full_like(videos, 128 / 255)
    sent = apply(clean, videos, whole, radius, space)
    levels = ((sent - clean)[0].to(torch.float64) * 255).round() / 255
    assert (ball.norm(levels) <= ball.spendable(radius, 255) * (1 + 3e-6)).all()


@pytest.mark.parametrize("norm", list(BALLS))
def test_every_frame_draws_noise_of_its_own_that_belongs_to_the_video(norm: str) -> None:
    ball, like = PerFrame(BALLS[norm]), torch.zeros(2, 3, 1, 4, 5)
    both = ball.random([torch.Generator().manual_seed(seed) for seed in (1, 2)], 0.5, like)
    alone = ball.random([torch.Generator().manual_seed(2)], 0.5, like[:1])
    assert both[1:].equal(alone)
    frames = both.flatten(0, 1)
    assert all(not one.equal(other) for row, one in enumerate(frames) for other in frames[:row])
    assert (BALLS[norm].norm(frames) <= 0.5 * (1 + 1e-5)).all()
