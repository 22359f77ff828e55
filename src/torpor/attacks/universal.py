"""One perturbation for all inputs, or one per class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.deepsloth import PAPER
from torpor.attacks.objectives import Objective, UniformExits
from torpor.attacks.optimizers import Optimizer, ShrinkingBall, State, Steps
from torpor.attacks.spaces import BALLS, L1, Ball, apply
from torpor.core.errors import UsageError
from torpor.core.paper import Paper
from torpor.core.threat import Stage
from torpor.targets.base import Target

BATCH = 250  # the paper's
CHECKS = 20  # how often the hard cost of the perturbation is measured while fitting


@dataclass(frozen=True, kw_only=True)
class Universal(Attack):
    """Base of attacks that learn a perturbation from other inputs and then only add it.

    Attributes:
        perturbations: learned, ``[1, C, H, W]`` or one per class ``[classes, C, H, W]``; None before :meth:`fit`.
    """

    stage: ClassVar[Stage] = Stage.UNIVERSAL
    needs_fit: ClassVar[bool] = True

    perturbations: Tensor | None = field(default=None, compare=False, repr=False)

    @abstractmethod
    def fit(self, target: Target, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0) -> Universal:
        """See :meth:`Attack.fit`."""

    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        """Add the learned perturbation; see :meth:`Attack.search`."""
        if self.perturbations is None:
            raise UsageError(f"expected a fitted attack, got {self.id} before fit(); fit it on other inputs first")
        delta = self.perturbations.to(inputs)
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(inputs + (delta[labels] if len(delta) > 1 else delta), nothing, nothing)


@dataclass(frozen=True, kw_only=True)
class DeepSlothUniversal(Universal):
    """Push every internal classifier to the uniform distribution with one perturbation for all inputs.

    Linf: one batch of 250, 20 signed steps of 0.005 (0.16 eps) from a uniform start in the ball. L2: 11 epochs of 5
    batches of 50 steps; step and ball shrink by a tenth per epoch. L1: 10 batches of 100 steps on the 10 % of pixels
    with the largest gradients.
    """

    id: ClassVar[str] = "deepsloth-universal"
    paper: ClassVar[Paper | None] = PAPER

    def fit(
        self, target: Target, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0
    ) -> DeepSlothUniversal:
        """See :meth:`Attack.fit`."""
        return type(self)(norm=self.norm, eps=self.eps, perturbations=self._learn(target, inputs, seed))

    def _learn(self, target: Target, inputs: Tensor, seed: int) -> Tensor:
        ball: Ball = L1(keep=0.1) if self.norm == "L1" else BALLS[self.norm]
        epochs, batches, repeats = {"Linf": (1, 1, 20), "L2": (11, 5, 50), "L1": (1, 10, 100)}[self.norm]
        batches = min(batches, -(-len(inputs) // BATCH))  # with fewer inputs the ball must still shrink to its end
        steps = epochs * batches * repeats
        optimizer: Optimizer = Steps((0.16 if self.norm == "Linf" else 0.0625) * self.eps)
        if self.norm == "L2":
            optimizer = ShrinkingBall(steps, self.eps, period=batches * repeats, size=0.1)
        return learn(
            target,
            inputs,
            objective=UniformExits(),
            ball=ball,
            eps=self.eps,
            optimizer=optimizer,
            schedule=_schedule(inputs[: BATCH * batches], epochs, repeats),
            steps=steps,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class DeepSlothClassUniversal(DeepSlothUniversal):
    """Push every internal classifier to the uniform distribution with one perturbation per true class."""

    id: ClassVar[str] = "deepsloth-class-universal"

    def fit(
        self, target: Target, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0
    ) -> DeepSlothClassUniversal:
        """See :meth:`Attack.fit`; ``references`` are required.

        Raises:
            UsageError: without references.
        """
        if references is None:
            raise UsageError(f"expected a class for each input, got none; {self.id} needs references")
        classes = max(int(references.max()) + 1, target.run(inputs[:1].to(target.device)).outputs.shape[-1])
        perturbations = torch.zeros(classes, *inputs.shape[1:], device=target.device)
        for label in range(classes):
            of_class = inputs[references == label]
            if len(of_class):
                perturbations[label] = self._learn(target, of_class, seed)[0]
        return type(self)(norm=self.norm, eps=self.eps, perturbations=perturbations)


def _schedule(inputs: Tensor, epochs: int, repeats: int) -> Iterator[Tensor]:
    """Yield the batch of each step."""
    for _ in range(epochs):
        for batch in inputs.split(BATCH):
            for _ in range(repeats):
                yield batch


def learn(
    target: Target,
    inputs: Tensor,
    *,
    objective: Objective,
    ball: Ball,
    eps: float,
    optimizer: Optimizer,
    schedule: Iterator[Tensor],
    steps: int,
    seed: int,
) -> Tensor:
    """Minimize the mean objective with one perturbation ``[1, C, H, W]`` and return the costliest that was seen."""
    inputs = target.space.snap(target.space.check(inputs)).to(target.device)
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=target.device)
    like = inputs[:1]
    delta = ball.random([torch.Generator().manual_seed(seed)], optimizer.radius(0, eps), like)
    state: State = {}
    best, best_cost = delta, -1.0
    for step, batch in enumerate(schedule):
        radius = optimizer.radius(step, eps)
        candidate = apply(batch.to(target.device), delta, ball, radius, target.space).requires_grad_()
        losses = objective(target.signals(candidate), labels[: len(batch)])
        gradient = torch.autograd.grad(losses.mean(), candidate)[0].sum(0, keepdim=True)
        loss = losses.detach().mean(0, keepdim=True)
        # no clamp to the pixel range here: the perturbation belongs to no one image
        delta = optimizer.step(ball, delta, gradient, loss, step, state, partial(ball.project, radius=radius))
        if (step + 1) % max(1, steps // CHECKS) == 0:
            sent = apply(inputs, ball.project(delta, eps), ball, eps, target.space)
            cost = target.prices.cost(target.run(sent).work).mean().item()
            if cost > best_cost:
                best, best_cost = ball.project(delta, eps), cost
    return best
