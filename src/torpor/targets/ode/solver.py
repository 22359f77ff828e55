"""Adaptive Runge-Kutta steps for a batch in which every sample has step sizes of its own, differentiable throughout.

The controller is that of torchdiffeq 0.2.5: its first step (Hairer, Norsett and Wanner, "Solving Ordinary Differential
Equations I", II.4), its error norm, its factors, and an interpolated end. There one step size serves a whole batch, and
its gradient is cut; here a sample is solved as torchdiffeq solves it alone, to rounding, and step sizes are
differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from torpor.targets.ode.tableaus import Tableau

Slope = Callable[[Tensor, Tensor], Tensor]
"""The right-hand side: of times ``[B, 1, ...]`` and states ``[B, ...]``, the states' derivative after time."""

SAFETY, MOST, LEAST = 0.9, 10.0, 0.2
"""Of the controller: the share of the step that it dares, and by how much a step may grow or shrink."""
START_EVALUATIONS = 2
"""Evaluations before the first step, which choose its size."""


@dataclass(frozen=True)
class Controller:
    """How a system is solved.

    Attributes:
        tableau: of the solver.
        rtol: relative tolerance.
        atol: absolute tolerance.
        end: the time at which the solution is wanted; it begins at 0.
        max_steps: attempted steps at most; a sample that has not come to the end by then returns the state that it has
            reached.
        shared: whether all samples of a batch take the same steps, by the error of the batch as a whole.
    """

    tableau: Tableau
    rtol: float = 1e-3
    atol: float = 1e-3
    end: float = 1.0
    max_steps: int = 32
    shared: bool = False

    def norm(self, values: Tensor) -> Tensor:
        """Return the root mean square of each sample's values ``[B, ...]``, or of the batch's, ``[B, 1, ...]``."""
        axes = tuple(range(0 if self.shared else 1, values.ndim))
        found = values.square().mean(axes, keepdim=True).sqrt()
        return found.expand(len(values), *found.shape[1:]) if self.shared else found


class Attempt(NamedTuple):
    """One attempted step of the samples that were still on their way.

    Attributes:
        rows: which they are, int64 ``[N]``.
        size: how long the step was, ``[N]``.
        reached: the time that each had reached after it, ``[N]``.
        following: the size that the controller proposed next, ``[N]``.
    """

    rows: Tensor
    size: Tensor
    reached: Tensor
    following: Tensor


@dataclass
class Solution:
    """A batch solved.

    Attributes:
        states: at the end, or where the cap on steps ended it, ``[B, ...]``.
        steps: attempted, int64 ``[B]``.
        rejected: of these, int64 ``[B]``.
        first: size of the first step, ``[B]``.
        attempts: one per step of the batch, differentiable.
    """

    states: Tensor
    steps: Tensor
    rejected: Tensor
    first: Tensor
    attempts: list[Attempt] = field(default_factory=list)


def solve(slope: Slope, start: Tensor, controller: Controller) -> Solution:
    """Solve from ``start`` ``[B, ...]``; samples leave the batch as soon as they have come to the end.

    Returns:
        The solution; states are NaN, or steps have no size, where the system leaves the range of its numbers.
    """
    steps = torch.zeros(len(start), dtype=torch.int64, device=start.device)
    rows = torch.arange(len(start), device=start.device)
    time = start.new_zeros(len(start), *[1] * (start.ndim - 1))
    now = slope(time, start)
    size = first_size(slope, start, now, controller)
    found = Solution(start, steps, steps.clone(), size.flatten())
    state = start
    for _ in range(controller.max_steps):
        slopes, ahead = stages(slope, time, state, now, size, controller.tableau)
        error = combined(controller.tableau.error, slopes) * size
        allowed = controller.atol + controller.rtol * torch.maximum(state.abs(), ahead.abs())
        ratio = controller.norm(error / allowed)
        accepted = ratio <= 1
        following = size * factor(ratio, controller.tableau.order)
        reached = torch.where(accepted, time + size, time)
        found.steps[rows] += 1
        found.rejected[rows] += ~accepted.flatten()
        found.attempts.append(Attempt(rows, size.flatten(), reached.flatten(), following.flatten()))
        done = (reached >= controller.end).flatten()
        if done.any():
            end = interpolated(controller, slopes[:, done], state[done], ahead[done], time[done], size[done])
            found.states = found.states.index_copy(0, rows[done], end)
            stays = ~done
            rows, accepted, slopes, ahead = rows[stays], accepted[stays], slopes[:, stays], ahead[stays]
            state, now, reached, following = state[stays], now[stays], reached[stays], following[stays]
            if len(rows) == 0:
                return found
        state = torch.where(accepted, ahead, state)
        now = torch.where(accepted, slopes[-1], now)
        time, size = reached, following
    found.states = found.states.index_copy(0, rows, state)
    return found


def stages(
    slope: Slope, time: Tensor, state: Tensor, now: Tensor, size: Tensor, tableau: Tableau
) -> tuple[Tensor, Tensor]:
    """Return all slopes of one step ``[S, B, ...]`` and the state at its end ``[B, ...]``."""
    slopes = [now]
    ahead = state
    for node, weights in zip(tableau.nodes, tableau.weights, strict=True):
        ahead = torch.addcmul(state, combined(weights, torch.stack(slopes)), size)
        slopes.append(slope(time + node * size, ahead))
    stacked = torch.stack(slopes)
    return stacked, ahead if tableau.solution is None else state + combined(tableau.solution, stacked) * size


def combined(weights: tuple[float, ...], slopes: Tensor) -> Tensor:
    """Return the weighted sum of slopes ``[S, B, ...]``, ``[B, ...]``."""
    return (_factors(weights, slopes.ndim, slopes.dtype, slopes.device) * slopes).sum(0)


@cache
def _factors(weights: tuple[float, ...], axes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept for passes that are differentiated
        return torch.tensor(weights, dtype=dtype, device=device).view(-1, *[1] * (axes - 1))


def factor(ratio: Tensor, order: int) -> Tensor:
    """Return by what the step size is multiplied after an error that is ``ratio`` times the allowed one.

    >>> factor(torch.tensor([0.0, 0.9**5, 1.0, 1e9]), 5).tolist()
    [10.0, 1.0, 0.8999999761581421, 0.20000000298023224]
    """
    wanted = SAFETY / ratio.clamp_min(torch.finfo(ratio.dtype).tiny) ** (1 / order)
    return torch.where(ratio < 1, wanted.clamp(1.0, MOST), wanted.clamp(LEAST, MOST))


def first_size(slope: Slope, state: Tensor, now: Tensor, controller: Controller) -> Tensor:
    """Return the size of the first step, ``[B, 1, ...]``, by one more evaluation of the right-hand side."""
    scale = controller.atol + controller.rtol * state.abs()
    value, speed = controller.norm(state / scale), controller.norm(now / scale)
    still = (value < 1e-5) | (speed < 1e-5)
    probe = torch.where(still, 1e-6, 0.01 * value / torch.where(still, 1, speed))
    bend = controller.norm((slope(probe, state + probe * now) - now) / scale) / probe
    steepest = torch.maximum(speed, bend)
    straight = steepest <= 1e-15
    size = (0.01 / torch.where(straight, 1, steepest)) ** (1 / controller.tableau.order)
    return torch.minimum(100 * probe, torch.where(straight, (1e-3 * probe).clamp_min(1e-6), size))


def interpolated(
    controller: Controller, slopes: Tensor, state: Tensor, ahead: Tensor, time: Tensor, size: Tensor
) -> Tensor:
    """Return the state at the end, from a step that reached or passed it: a polynomial of degree 4."""
    middle = state + combined(controller.tableau.middle, slopes) * size
    first, last = slopes[0] * size, slopes[-1] * size
    at = (controller.end - time) / size
    fourth = 2 * (last - first) - 8 * (ahead + state) + 16 * middle
    third = 5 * first - 3 * last + 18 * state + 14 * ahead - 32 * middle
    second = last - 4 * first - 11 * state - 5 * ahead + 16 * middle
    return state + at * (first + at * (second + at * (third + at * fourth)))
