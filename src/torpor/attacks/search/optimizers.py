"""What a gradient attack changes, and the steps that it takes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.search.balls import Ball, per_sample
from torpor.core.space import DenseSpace

State = dict[str, Tensor]
"""What an optimizer remembers: tensors whose first dimension is the batch."""

Project = Callable[[Tensor], Tensor]
"""Map any perturbation into the ball and the valid pixel range."""

SATURATED = 1e-6
"""How close to black and white a reparametrized pixel can start: where its variable is still finite."""
Penalty = Callable[[Tensor], Tensor]
"""Map changes ``[B, ...]`` to a penalty ``[B]``."""

RATE = 0.08
"""Learning rate of Adam in units of eps: the papers' 0.01 over pixels that have a standard deviation of 0.25."""


@dataclass(frozen=True)
class Optimizer(ABC):
    """Turn gradients into the next perturbation."""

    def radius(self, step: int, eps: float) -> float:
        """Return the ball's radius at ``step`` (from 0); ``eps`` unless the optimizer shrinks it."""
        return eps

    @abstractmethod
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        """Return the next perturbation ``[B, ...]`` after the one whose loss ``[B]`` and gradient are given."""


@dataclass(frozen=True)
class Steps(Optimizer):
    """Steepest descent with a constant step: PGD (Madry et al., ICLR 2018).

    Attributes:
        size: norm of each step, in the ball's own norm.
    """

    size: float

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        return project(delta - self.size * ball.steepest(gradient))


@dataclass(frozen=True)
class CosineSteps(Optimizer):
    """Steepest descent with steps that fall to 0 along a cosine.

    Attributes:
        size: norm of the first step, in the ball's own norm.
        steps: iterations in all.
    """

    size: float
    steps: int

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        share = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return project(delta - self.size * share * ball.steepest(gradient))


@dataclass(frozen=True)
class ShrinkingBall(Optimizer):
    """DeepSloth's L2 schedule: unit gradients, and a ball that shrinks to ``eps`` at the end.

    Attributes:
        steps: iterations in all.
        eps: last radius of the ball.
        shrink: relative loss of radius each ``period`` iterations.
        period: see ``shrink``.
        size: first step, in units of the first radius.
        cosine: whether steps fall to a hundredth along a cosine; else they shrink with the ball.
    """

    steps: int
    eps: float
    shrink: float = 0.1
    period: int = 50
    size: float = 1.0
    cosine: bool = True

    def radius(self, step: int, eps: float) -> float:
        """Return ``eps / (1 - shrink)^m`` with ``m`` shrinks still to come; see :meth:`Optimizer.radius`."""
        return eps / (1 - self.shrink) ** max(0, (self.steps - 1) // self.period - step // self.period)

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        share = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.cosine else 1.0
        unit = self.radius(0 if self.cosine else step, self.eps)
        return project(delta - self.size * share * unit * ball.steepest(gradient))


@dataclass(frozen=True)
class AutoSteps(Optimizer):
    """APGD: momentum, and a step that halves where progress stalls (Croce and Hein, ICML 2020). No parameters to tune.

    In L1 its steps move a fixed share of the pixels, that of :class:`~torpor.attacks.search.balls.L1`, and projection
    ends at the ball before it ends at the pixel range. Croce and Hein ("Mind the Box", ICML 2021) adapt the share and
    project onto both at once. That is not done here, since it finds no more: on 48 images of ``sdn-digits`` 69, 61 and
    69 % of the headroom, with the gates' three weights of ``standard``, where these steps find 72, 56 and 68 % (L1 8,
    100 steps), and 29, 28 and 28 % where these find 40, 33 and 27 % (L1 4).

    Attributes:
        steps: iterations in all.
        eps: radius of the ball; the first step is twice as long.
    """

    steps: int
    eps: float

    def checkpoints(self) -> frozenset[int]:
        """Return the iterations at which the step may halve."""
        marks, gap, at = [], 22, 22  # hundredths of all steps, whole so that rounding up is exact
        while at <= 100:
            marks.append(-(-at * self.steps // 100))
            gap = max(gap - 3, 6)
            at += gap
        return frozenset(marks)

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        if step == 0:
            state |= {"size": torch.full_like(loss, 2 * self.eps), "last": delta, "better": torch.zeros_like(loss)}
            state |= {"best": delta, "best_loss": loss, "best_gradient": gradient, "previous": loss}
            state |= {"mark": torch.zeros_like(loss), "mark_loss": loss, "halved": torch.ones_like(loss)}
        improved = loss < state["best_loss"]
        state["better"] = state["better"] + (loss < state["previous"])
        state["previous"] = loss
        state["best_loss"] = torch.where(improved, loss, state["best_loss"])
        for name, value in (("best", delta), ("best_gradient", gradient)):
            state[name] = torch.where(per_sample(improved, value), value, state[name])
        if step in self.checkpoints():
            delta, gradient = self._checkpoint(delta, gradient, step, state)
        moved = project(delta - per_sample(state["size"], delta) * ball.steepest(gradient))
        blend = 0.75 if step > 0 else 1.0
        following = project(delta + blend * (moved - delta) + (1 - blend) * (delta - state["last"]))
        state["last"] = delta
        return following

    def _checkpoint(self, delta: Tensor, gradient: Tensor, step: int, state: State) -> tuple[Tensor, Tensor]:
        """Halve the step and go back to the best point where the loss fell too rarely, or not at all."""
        rarely = state["better"] < 0.75 * (step - state["mark"])
        stalled = (state["halved"] == 0) & (state["best_loss"] >= state["mark_loss"])
        halve = rarely | stalled
        state["size"] = torch.where(halve, state["size"] / 2, state["size"])
        state["halved"] = halve.to(state["size"].dtype)
        state["mark"] = torch.full_like(state["mark"], step)
        state["mark_loss"] = state["best_loss"]
        state["better"] = torch.zeros_like(state["better"])
        back = per_sample(halve, delta)
        return torch.where(back, state["best"], delta), torch.where(back, state["best_gradient"], gradient)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015) whose moments belong to the sample.

    Attributes:
        rate: learning rate.
    """

    rate: float

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        if not state.keys() & {"mean", "square"}:
            state |= {"mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
        first = state["mean"].mul_(0.9).add_(0.1 * gradient) / (1 - 0.9 ** (step + 1))
        second = state["square"].mul_(0.999).add_(gradient.square().mul_(0.001)) / (1 - 0.999 ** (step + 1))
        return project(delta - first.mul_(self.rate).div_(second.sqrt_().add_(1e-8)))


class Variable(ABC):
    """What an optimizer moves, and how it becomes an input."""

    @abstractmethod
    def change(self, values: Tensor, clean: Tensor) -> Tensor:
        """Return by how much inputs differ from ``clean``, in a shape that can be added to it, differentiably."""

    @abstractmethod
    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """Return what keeps values within their range."""

    def gradient(self, values: Tensor, clean: Tensor, of_inputs: Tensor, penalty: Penalty | None) -> Tensor:
        """Return the gradient of loss and penalty after the values, given the loss's after the inputs."""
        values = values.detach().requires_grad_()
        change = self.change(values, clean).expand_as(clean)
        outputs = [change] if penalty is None else [change, penalty(change).sum()]
        weights = [of_inputs, *(torch.ones_like(part) for part in outputs[1:])]
        (gradient,) = torch.autograd.grad(outputs, values, weights)
        return gradient


@dataclass(frozen=True)
class Change(Variable):
    """The variable is the change itself, kept in the ball and the valid range."""

    @override
    def change(self, values: Tensor, clean: Tensor) -> Tensor:
        return values

    @override
    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        return lambda values: (clean + ball.project(values, eps)).clamp_(space.low, space.high).sub_(clean)


@dataclass(frozen=True)
class Shared(Change):
    """The variable is one change ``[B, 1, ...]`` of all frames of a sample ``[B, T, ...]``, kept in the ball."""

    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """See :meth:`Variable.limit`; the valid range belongs to each frame, not to what they share."""
        return lambda values: ball.project(values, eps)


@dataclass(frozen=True)
class Tanh(Variable):
    """Pixels are ``(tanh w + 1) / 2``, so every ``w`` is an image (Carlini and Wagner, S&P 2017)."""

    @override
    def change(self, values: Tensor, clean: Tensor) -> Tensor:
        return (values.tanh() + 1) / 2 - clean

    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """Leave values as they are: a penalty pulls them back into the budget."""
        return lambda values: values

    def values(self, inputs: Tensor) -> Tensor:
        """Return the ``w`` of images.

        >>> Tanh().values(torch.tensor([0.0, 0.5])).isfinite().all().item()
        True
        """
        return torch.atanh(2 * inputs.clamp(SATURATED, 1 - SATURATED) - 1)
