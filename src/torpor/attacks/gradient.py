"""The one loop behind every per-sample gradient attack: objective x space x optimizer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.objectives import Objective
from torpor.attacks.optimizers import Optimizer, Project, State
from torpor.attacks.spaces import BALLS, Ball, apply
from torpor.core.errors import UsageError
from torpor.core.seeds import sample_generators
from torpor.core.space import DenseSpace
from torpor.targets.gates import GateTarget


@dataclass
class Incumbent:
    """The costliest candidate of each sample so far; among equals the one of least loss."""

    inputs: Tensor
    cost: Tensor
    loss: Tensor
    first_loss: Tensor
    zero_gradient: Tensor
    spent: Tensor

    @staticmethod
    def begin(inputs: Tensor, cost: Tensor, loss: Tensor) -> Incumbent:
        """Start from the clean ``inputs``; ``cost`` and ``loss`` are those of the first candidates, to be offered."""
        return Incumbent(
            inputs.clone(),
            torch.full_like(cost, -1),
            torch.full_like(loss, torch.inf),
            loss,
            torch.zeros(len(cost), dtype=torch.bool, device=inputs.device),
            torch.zeros(len(cost), dtype=torch.int64, device=inputs.device),
        )

    def offer(
        self, rows: Tensor, candidates: Tensor, cost: Tensor, loss: Tensor, allowed: Tensor | None = None
    ) -> None:
        """Take the candidates of ``rows`` that are better and, where only some are, ``allowed``."""
        take = (cost > self.cost[rows]) | ((cost == self.cost[rows]) & (loss < self.loss[rows]))
        if allowed is not None:
            take &= allowed
        taken, of = rows[take], take.nonzero().squeeze(1)
        if len(taken) == len(self.inputs):
            self.inputs = candidates
        else:
            self.inputs = self.inputs.index_copy(0, taken, candidates.index_select(0, of))
        self.cost[taken], self.loss[taken] = cost[take], loss[take]

    def candidates(self, backwards: Tensor) -> Candidates:
        """Return what was found."""
        return Candidates(
            inputs=self.inputs,
            forwards=self.spent,
            backwards=backwards,
            zero_gradient=self.zero_gradient,
            loss_fell=self.loss < self.first_loss - 0.1 * self.first_loss.abs(),
        )


def minimize(
    target: GateTarget,
    inputs: Tensor,
    labels: Tensor,
    *,
    objective: Objective,
    ball: Ball,
    eps: float,
    optimizer: Optimizer,
    steps: int,
    start: Tensor,
) -> Candidates:
    """Minimize ``objective`` for each sample within ``eps`` and return the costliest candidate seen.

    Every candidate is a valid 8-bit image, the one that would be sent: the forward pass is the exact pipeline and the
    gradient passes straight through the rounding. Its signals tell the work of the hard target, so the best iterate
    by hard cost is known without a second forward pass. Samples at the static bound with margin leave the batch.

    Args:
        target: what to attack.
        inputs: clean images ``[B, C, H, W]`` on the pixel grid.
        labels: classes ``[B]``.
        objective: loss per sample.
        ball: geometry of the budget.
        eps: radius of the budget.
        optimizer: turns gradients into steps.
        steps: backward passes at most.
        start: first perturbation ``[B, C, H, W]``.
    """
    count = len(inputs)
    rows = torch.arange(count, device=inputs.device)
    static = target.prices.cost(target.max_work(inputs)).to(inputs.device)
    best: Incumbent | None = None
    clean, delta = inputs, start
    state: State = {}
    for step in range(steps + 1):
        radius = optimizer.radius(step, eps)
        candidate = apply(clean, delta, ball, radius, target.space).requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            signals = target.signals(candidate)
            losses = objective(signals, labels)
        loss, cost = losses.detach(), target.prices.cost(signals.work).to(inputs.device)
        shown = candidate.detach()
        if best is None:
            best = Incumbent.begin(inputs, cost, loss)
        best.spent[rows] += 1
        allowed = ball.norm(shown - clean) <= eps * (1 + 1e-5)
        best.offer(rows, shown, cost, loss, allowed)
        stays = ~(allowed & (cost >= static[rows]) & signals.settled())
        if step == steps or not stays.any():
            break
        (gradient,) = torch.autograd.grad(losses.sum(), candidate)
        if step == 0:
            best.zero_gradient = (gradient == 0).flatten(1).to(torch.float32).mean(1) > 0.5
        if not stays.all():
            rows, clean, delta, labels = rows[stays], clean[stays], delta[stays], labels[stays]
            gradient, loss = gradient[stays], loss[stays]
            state = {name: value[stays] for name, value in state.items()}
        delta = optimizer.step(ball, delta, gradient, loss, step, state, _projection(clean, ball, radius, target.space))
    assert best is not None
    return best.candidates(backwards=best.spent - 1)


def _projection(clean: Tensor, ball: Ball, radius: float, space: DenseSpace) -> Project:
    def project(delta: Tensor) -> Tensor:
        return space.clamp(clean + ball.project(delta, radius)) - clean

    return project


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """A per-sample gradient attack: subclasses name the objective and the optimizer.

    Attributes:
        steps: backward passes at most; the attack's own default for the norm if None.
    """

    steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"expected 1 step or more, got {self.steps}")

    @property
    @abstractmethod
    def iterations(self) -> int:
        """Backward passes at most."""

    @abstractmethod
    def objective(self) -> Objective:
        """Return the loss to minimize."""

    @abstractmethod
    def optimizer(self) -> Optimizer:
        """Return what turns gradients into steps."""

    def start_radius(self) -> float:
        """Return the radius of the random start."""
        return self.optimizer().radius(0, self.eps)

    def search(self, target: GateTarget, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        """See :meth:`Attack.search`."""
        ball = BALLS[self.norm]
        start = ball.random(sample_generators(inputs, seed, self.id), self.start_radius(), inputs)
        return minimize(
            target,
            inputs,
            labels,
            objective=self.objective(),
            ball=ball,
            eps=self.eps,
            optimizer=self.optimizer(),
            steps=self.iterations,
            start=(inputs + start).clamp(0, 1) - inputs,
        )
