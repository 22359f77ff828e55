"""The loop of every per-sample gradient attack: objective x variable x optimizer; and gradients that may be missing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.balls import Ball, apply, ball_of
from torpor.attacks.search.incumbent import Incumbent
from torpor.attacks.search.objectives import IterateObjective, Labeled, Objective
from torpor.attacks.search.optimizers import Change, Optimizer, Penalty, State, Variable
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals, Signals, allowed, evading
from torpor.core.space import DenseSpace, InputSpace
from torpor.core.work import PriceList, Work
from torpor.targets.base import Target


def gradient_of(loss: Tensor, inputs: Tensor, *, retain_graph: bool = False) -> Tensor:
    """Return the gradient of a scalar ``loss`` after ``inputs``, in their shape; zero wherever there is none.

    There is none through a stop-gradient, an argmax or an operator without a derivative, where the backward pass of a
    network is not possible, and where it returns NaN or infinity, which give no direction. Attacks continue
    without it, and report that in :attr:`~torpor.attacks.base.Candidates.zero_gradient`.

    Args:
        loss: to differentiate, ``[]``.
        inputs: leaf or node of its graph, if it has one.
        retain_graph: whether the graph is to be differentiated again.

    >>> point = torch.ones(2, requires_grad=True)
    >>> gradient_of((3 * point).sum(), point), gradient_of((3 * point.detach()).sum(), point)
    (tensor([3., 3.]), tensor([0., 0.]))
    """
    return gradients_of(loss, [inputs], retain_graph=retain_graph)[0]


def gradients_of(loss: Tensor, inputs: Sequence[Tensor], *, retain_graph: bool = False) -> list[Tensor]:
    """Return the gradient of ``loss`` after each of several tensors, by one backward pass; see :func:`gradient_of`."""
    if not loss.requires_grad:
        return [torch.zeros_like(each) for each in inputs]
    try:
        found = torch.autograd.grad(loss, inputs, retain_graph=retain_graph, allow_unused=True, materialize_grads=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # no derivative, or a tensor that the network has overwritten
        return [torch.zeros_like(each) for each in inputs]
    return [torch.where(gradient.isfinite(), gradient, 0) for gradient in found]


def without_conflict(gradient: Tensor, guard: Tensor) -> Tensor:
    """Return a gradient without what descent on it would raise of another loss, of length 1 per sample.

    Args:
        gradient: of what is descended, ``[B, ...]``.
        guard: gradient of what must not rise.

    >>> without_conflict(torch.tensor([[3.0, -4.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [0.0, 2.0]])).tolist()
    [[1.0, 0.0], [0.6000000238418579, 0.800000011920929]]
    """
    flat, other = gradient.flatten(1), functional.normalize(guard.flatten(1))
    against = (flat * other).sum(1, keepdim=True).clamp_max(0)
    return functional.normalize(flat - against * other).view_as(gradient)


def slope_of(signals: Any, losses: Tensor, guard: Tensor | None, inputs: Tensor) -> Tensor:  # noqa: ANN401
    """Return the gradient to descend along, ``[B, ...]``: of ``losses``, without what would raise ``guard``.

    Args:
        signals: of any family, which the losses were made of.
        losses: of each sample, ``[B]``.
        guard: what no step may raise, ``[B]``; see :meth:`IterateObjective.guard`.
        inputs: candidates that require a gradient.
    """
    gradient = gradient_of(losses.sum(), inputs, retain_graph=guard is not None)
    if guard is None:
        return gradient
    return without_conflict(gradient, gradient_of(evading(signals, guard).sum(), inputs))


class Slope(Protocol):
    """What the loop descends along."""

    def __call__(self, signals: Any, losses: Tensor, guard: Tensor | None, inputs: Tensor) -> Tensor:  # noqa: ANN401
        """Return the gradient, ``[B, ...]``; see :func:`slope_of`."""


class Amplifiable(Protocol):
    """What the loop requires of a target."""

    @property
    def space(self) -> InputSpace:
        """Which inputs are valid."""

    @property
    def prices(self) -> PriceList:
        """Cost per unit."""

    def max_work(self, inputs: Tensor) -> Work:
        """Return the static bound of each input."""

    def signals(self, inputs: Tensor) -> Signals:
        """Return what decides the work, differentiably, and the work itself."""


def amplify(
    target: Amplifiable,
    inputs: Tensor,
    *,
    objective: IterateObjective[Any],
    ball: Ball,
    eps: float,
    optimizer: Optimizer,
    steps: int,
    variable: Variable,
    start: Tensor,
    penalty: Penalty | None = None,
    slope: Slope = slope_of,
) -> Candidates:
    """Minimize ``objective`` for each sample within ``eps`` and return the costliest candidate seen.

    Every candidate is the input that would be sent: projected into the budget and rounded to the grid, with the
    gradient passed straight through. Its signals tell the work of the hard target, so the best iterate by hard cost is
    known without a second pass. While an optimizer's ball is larger than the budget, only candidates within the budget
    count. Samples at the static bound with margin leave the batch.

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
        slope: turns losses into the gradient.
    """
    space = target.space
    assert isinstance(space, DenseSpace)
    rows = torch.arange(len(inputs), device=inputs.device)
    static = target.prices.cost(target.max_work(inputs)).to(inputs.device)
    best = Incumbent.begin(inputs)
    first_loss, zero_gradient = torch.empty(0), torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    clean, values = inputs, start
    state: State = {}
    for step in range(steps + 1):
        radius = optimizer.radius(step, eps)
        candidate = apply(clean, variable.change(values, clean), ball, radius, space).requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            signals = target.signals(candidate)
            losses = evading(signals, objective(signals, step, state))
            guard = objective.guard(signals, step)
        shown, cost = candidate.detach(), target.prices.cost(signals.work).to(inputs.device)
        rank = objective.rank(signals, losses.detach())
        first_loss = rank if step == 0 else first_loss
        passes = allowed(signals).to(inputs.device)
        if radius > eps:
            passes &= ball.norm(shown - clean) <= eps * (1 + 1e-5)
        best.offer(rows, shown, cost, rank, allowed=passes, backwards=int(step > 0) * (1 if guard is None else 2))
        stays = ~(passes & (cost >= static[rows]) & signals.settled())
        if step == steps or not stays.any():
            break
        gradient = slope(signals, losses, guard, candidate)
        if step == 0:
            zero_gradient = (ball.free(gradient) == 0).flatten(1).to(torch.float32).mean(1) > 0.5
        if not stays.all():
            rows, clean, values = rows[stays], clean[stays], values[stays]
            gradient, losses = gradient[stays], losses[stays]
            state = {name: value[stays] for name, value in state.items()}
        gradient = variable.gradient(values, clean, gradient, penalty)
        project = variable.limit(clean, ball, radius, space)
        values = optimizer.step(ball, values, gradient, losses.detach(), step, state, project)
        del candidate, shown, signals, losses, guard, gradient  # memory for the next pass
    assert best.rank is not None
    return Candidates(
        inputs=best.inputs,
        forwards=best.queries,
        backwards=best.backwards,
        zero_gradient=zero_gradient,
        loss_fell=best.rank < first_loss - 0.1 * first_loss.abs(),
        curves=best.curves,
    )


@dataclass(frozen=True, kw_only=True)
class IterativeAttack(Attack):
    """An attack that runs the loop.

    Attributes:
        steps: backward passes at most; the paper's if None.
    """

    norms: ClassVar[tuple[str, ...]] = ("Linf", "L2")
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


@dataclass(frozen=True, kw_only=True)
class GradientAttack(IterativeAttack):
    """A per-sample gradient attack: subclasses name the objective, the optimizer and ``paper_steps``."""

    norms: ClassVar[tuple[str, ...]] = Attack.norms
    reads: ClassVar[type | None] = GateSignals

    @abstractmethod
    def objective(self) -> Objective:
        """Return the loss to minimize."""

    def losses(self, labels: Tensor) -> IterateObjective[Any]:
        """Return the loss as the loop takes it, for samples of these classes ``[B]``."""
        return Labeled(self.objective(), labels)

    @abstractmethod
    def optimizer(self) -> Optimizer:
        """Return what turns gradients into steps."""

    def start_radius(self) -> float:
        """Return the radius of the random start."""
        return self.optimizer().radius(0, self.eps)

    def start(self, target: Target, inputs: Tensor, seed: int) -> Tensor:
        """Return where the search starts, ``[B, C, H, W]``: a random point of the ball."""
        generators = sample_generators(inputs, seed, self.id)
        return inputs + ball_of(self.budget, target.space).random(generators, self.start_radius(), inputs)

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        return self.follow(target, inputs, labels, self.start(target, inputs, seed))

    def follow(self, signaling: Amplifiable, inputs: Tensor, labels: Tensor, start: Tensor) -> Candidates:
        """Follow the gradients of ``signaling``, the target or what stands for it, from ``start``."""
        space = signaling.space
        assert isinstance(space, DenseSpace)
        return amplify(
            signaling,
            inputs,
            objective=self.losses(labels),
            ball=ball_of(self.budget, space),
            eps=self.eps,
            optimizer=self.optimizer(),
            steps=self.iterations,
            variable=Change(),
            start=space.clamp(start) - inputs,
        )
