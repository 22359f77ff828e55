"""The one loop behind gradient attacks on decoders of images and sound: objective x variable x optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.gradient import Incumbent
from torpor.attacks.optimizers import Optimizer, Project, State
from torpor.attacks.spaces import BALLS, Ball, apply
from torpor.attacks.step_objectives import StepObjective
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.space import DenseSpace
from torpor.targets.steps import StepTarget

MARGIN = 0.01
"""A sample leaves the batch at the cap once every token that it says scores this much better than any other."""
SATURATED = 1e-6
"""How close to black and white a reparametrized pixel can start: where its variable is still finite."""

Penalty = Callable[[Tensor], Tensor]
"""Map changes ``[B, ...]`` to a penalty ``[B]``."""


class Variable(ABC):
    """What an optimizer moves, and how it becomes an input."""

    @abstractmethod
    def inputs(self, values: Tensor, clean: Tensor) -> Tensor:
        """Return inputs ``[B, ...]``, differentiably."""

    @abstractmethod
    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """Return what keeps values where they shall be."""

    def gradient(self, values: Tensor, clean: Tensor, of_inputs: Tensor, penalty: Penalty | None) -> Tensor:
        """Return the gradient of loss and penalty after the values, given the loss's after the inputs."""
        values = values.detach().requires_grad_()
        inputs = self.inputs(values, clean)
        ends, seeds = [inputs], [of_inputs]
        if penalty is not None:
            ends.append(penalty(inputs - clean))
            seeds.append(torch.ones_like(ends[1]))
        (gradient,) = torch.autograd.grad(ends, values, seeds)
        return gradient


@dataclass(frozen=True)
class Change(Variable):
    """The variable is the change itself, kept in the ball and the valid range."""

    def inputs(self, values: Tensor, clean: Tensor) -> Tensor:
        """See :meth:`Variable.inputs`."""
        return clean + values

    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """See :meth:`Variable.limit`."""
        return lambda values: space.clamp(clean + ball.project(values, eps)) - clean


@dataclass(frozen=True)
class Tanh(Variable):
    """Pixels are ``(tanh w + 1) / 2``, so every ``w`` is an image (Carlini and Wagner, S&P 2017)."""

    def inputs(self, values: Tensor, clean: Tensor) -> Tensor:
        """See :meth:`Variable.inputs`."""
        return (values.tanh() + 1) / 2

    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """Leave values as they are: a penalty pulls them back into the budget."""
        return lambda values: values

    def values(self, inputs: Tensor) -> Tensor:
        """Return the ``w`` of images.

        >>> Tanh().values(torch.tensor([0.0, 0.5])).isfinite().all().item()
        True
        """
        return torch.atanh(2 * inputs.clamp(SATURATED, 1 - SATURATED) - 1)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015) whose moments belong to the sample.

    Attributes:
        rate: learning rate.
    """

    rate: float

    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        """See :meth:`Optimizer.step`."""
        if not state.keys() & {"mean", "square"}:
            state |= {"mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
        first = state["mean"].mul_(0.9).add_(0.1 * gradient) / (1 - 0.9 ** (step + 1))
        second = state["square"].mul_(0.999).add_(gradient.square().mul_(0.001)) / (1 - 0.999 ** (step + 1))
        return project(delta - first.mul_(self.rate).div_(second.sqrt_().add_(1e-8)))


def lengthen(
    target: StepTarget,
    inputs: Tensor,
    *,
    objective: StepObjective,
    ball: Ball,
    eps: float,
    optimizer: Optimizer,
    steps: int,
    variable: Variable,
    start: Tensor,
    penalty: Penalty | None = None,
) -> Candidates:
    """Minimize ``objective`` for each sample and return the costliest candidate seen.

    Every candidate is the input that would be sent: projected into the budget and rounded to the grid, with the
    gradient passed straight through. Its signals tell the work of the hard target, so the best iterate by hard cost is
    known without a second pass. Samples at the static bound with margin leave the batch.

    Args:
        target: what to attack.
        inputs: clean inputs ``[B, ...]`` on the grid.
        objective: loss per sample.
        ball: geometry of the budget.
        eps: radius of the budget.
        optimizer: turns gradients into steps.
        steps: backward passes at most.
        variable: what the optimizer moves.
        start: its first values ``[B, ...]``.
        penalty: on changes before they are projected; steers the optimizer, ranks nothing.
    """
    space = target.space
    assert isinstance(space, DenseSpace)
    rows = torch.arange(len(inputs), device=inputs.device)
    static = target.prices.cost(target.max_work(inputs)).to(inputs.device)
    best: Incumbent | None = None
    clean, values = inputs, start
    state: State = {}
    for step in range(steps + 1):
        candidate = apply(clean, variable.inputs(values, clean) - clean, ball, eps, space).requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            signals = target.signals(candidate)
            losses = objective(signals, step, state)
        shown, cost = candidate.detach(), target.prices.cost(signals.work).to(inputs.device)
        rank = objective.rank(signals, losses.detach())
        if best is None:
            best = Incumbent.begin(inputs, cost, rank)
        best.spent[rows] += 1
        best.offer(rows, shown, cost, rank, ball.norm(shown - clean) <= eps * (1 + 1e-5))
        stays = ~_finished(signals, cost, static[rows])
        if step == steps or not stays.any():
            break
        (gradient,) = torch.autograd.grad(losses.sum(), candidate)
        if step == 0:
            best.zero_gradient = (gradient == 0).flatten(1).to(torch.float32).mean(1) > 0.5
        if not stays.all():
            rows, clean, values = rows[stays], clean[stays], values[stays]
            gradient, losses = gradient[stays], losses[stays]
            state = {name: value[stays] for name, value in state.items()}
        gradient = variable.gradient(values, clean, gradient, penalty)
        project = variable.limit(clean, ball, eps, space)
        values = optimizer.step(ball, values, gradient, losses.detach(), step, state, project)
    assert best is not None
    return best.candidates(backwards=best.spent - 1)


def _finished(signals: StepSignals, cost: Tensor, static: Tensor) -> Tensor:
    """Tell which samples cost the static bound, with every token more than ``MARGIN`` ahead of all others."""
    logits, ids = signals.logits.detach(), signals.ids.unsqueeze(-1)
    ahead = logits.gather(-1, ids).squeeze(-1) - logits.scatter(-1, ids, -torch.inf).amax(-1)
    return (cost >= static) & ((ahead > MARGIN) | ~signals.mask).all(1)


@dataclass(frozen=True, kw_only=True)
class StepAttack(Attack):
    """A gradient attack on a decoder.

    Attributes:
        steps: backward passes at most; the paper's if None.
    """

    norms: ClassVar[tuple[str, ...]] = ("Linf", "L2")
    targets: ClassVar[type] = StepTarget
    paper_steps: ClassVar[int]

    steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"expected 1 step or more, got {self.steps}")

    @property
    def iterations(self) -> int:
        """Backward passes at most."""
        return self.steps or self.paper_steps

    @property
    def ball(self) -> Ball:
        """Geometry of the budget."""
        return BALLS[self.norm]
