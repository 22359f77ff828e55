"""Sponge examples for image classifiers: inputs that leave few activations at zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.activity.uniform import LEVELS, UniformInputs
from torpor.attacks.base import Candidates
from torpor.attacks.iterative import GradientAttack
from torpor.attacks.search.balls import Ball, ball_of, per_sample
from torpor.attacks.search.objectives import Objective
from torpor.attacks.search.optimizers import Optimizer, Project, State, Steps
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper
from torpor.targets.base import Target
from torpor.targets.zero_skipping.signals import DensitySignals

PAPER = Paper(
    "Sponge Examples: Energy-Latency Attacks on Neural Networks",
    "Shumailov et al.",
    "IEEE EuroS&P",
    2021,
    "arXiv:2006.03463",
)

MEMORY = 10
"""Steps that L-BFGS remembers."""


@dataclass(frozen=True)
class LargeActivations:
    """Raise the sum over layers of the L2 norms of what they read.

    >>> signals = DensitySignals(None, torch.zeros(1, 0), None, norms=torch.tensor([[1.0, 2.0]]))
    >>> LargeActivations()(signals, torch.tensor([0])).tolist()
    [-3.0]
    """

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        norms = cast(DensitySignals, signals).norms
        assert norms is not None
        return -norms.sum(1)


@dataclass(frozen=True)
class ManyActivations:
    """Raise the sum over layers of the share of what they read that is not zero, by degrees (Cinà et al.).

    >>> signals = DensitySignals(None, torch.zeros(1, 0), None, active=torch.tensor([[0.5, 0.25]]))
    >>> ManyActivations()(signals, torch.tensor([0])).tolist()
    [-0.75]
    """

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        active = cast(DensitySignals, signals).active
        assert active is not None
        return -active.sum(1)


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """L-BFGS without line search (Liu and Nocedal, 1989), each sample with curvature of its own.

    Where a step has met no positive curvature it is not remembered. The first step, and any as long as nothing is
    remembered, is a steepest one.

    Attributes:
        size: norm of a steepest step, and bound of the largest change of a value in any step.
    """

    size: float

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        if step == 0:
            empty = delta.new_zeros(len(delta), MEMORY, delta[0].numel())
            state |= {"moves": empty, "turns": empty.clone()}
        else:
            moved = (delta - state["at"]).flatten(1)
            turned = (gradient - state["slope"]).flatten(1)
            curved = ((moved * turned).sum(1) > 1e-12).unsqueeze(1).unsqueeze(2)
            for name, newest in (("moves", moved), ("turns", turned)):
                shifted = torch.cat([state[name][:, 1:], newest.unsqueeze(1)], 1)
                state[name] = torch.where(curved, shifted, state[name])
        state |= {"at": delta, "slope": gradient}
        found = two_loops(gradient.flatten(1), state["moves"], state["turns"]).view_as(delta)
        known = state["moves"].flatten(1).any(1)
        largest = found.flatten(1).abs().amax(1).clamp_min(1e-30)
        found = found * per_sample((self.size / largest).clamp_max(1), found)
        return project(delta - torch.where(per_sample(known, delta), found, self.size * ball.steepest(gradient)))


def two_loops(gradient: Tensor, moves: Tensor, turns: Tensor) -> Tensor:
    """Return the inverse Hessian that steps imply times the gradient ``[B, N]``; the gradient itself without steps.

    Args:
        gradient: ``[B, N]``.
        moves: by how much values changed, oldest first, ``[B, M, N]``; zero where there was no step.
        turns: by how much gradients changed meanwhile.

    >>> point, hessian = torch.tensor([[1.0, 2.0]]), torch.tensor([4.0, 4.0])
    >>> moves = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> two_loops(point * hessian, moves, moves * hessian).tolist()  # of a quadratic it leads to the minimum
    [[1.0, 2.0]]
    """
    products = (moves * turns).sum(2)
    weights = torch.where(products > 0, 1 / products.clamp_min(1e-30), 0)
    direction, passed = gradient, []
    for at in reversed(range(moves.shape[1])):
        passed.append(weights[:, at, None] * (moves[:, at] * direction).sum(1, keepdim=True))
        direction = direction - passed[-1] * turns[:, at]
    scale = products[:, -1] / turns[:, -1].square().sum(1).clamp_min(1e-30)
    direction = direction * torch.where(products[:, -1] > 0, scale, 1).unsqueeze(1)
    for at, first in zip(range(moves.shape[1]), reversed(passed), strict=True):
        second = weights[:, at, None] * (turns[:, at] * direction).sum(1, keepdim=True)
        direction = direction + (first - second) * moves[:, at]
    return direction


@dataclass(frozen=True, kw_only=True)
class SpongeVision(GradientAttack):
    """Raise how many activations are not zero by L-BFGS or PGD, from the flat image of the ball that costs most.

    The paper raises the norms of all activations from a random point of the ball, which is ``loss="norms"`` with
    ``origin="random"``, and bounds images by the range of pixels alone, ``--eps 1`` in Linf. Large norms are no dense
    activations: a neuron that does not fire has no part in them, and few that fire much have a larger norm than many
    that fire a little. On ``sparse-digits`` the first step already lowers the cost, so that what is found is the start
    itself, and a flat image costs more (Müller and Quiring, DLSP 2024, say so of others). Hence the loss of sponge
    poisoning instead, on which a large activation counts no more than a small one, and the flat image as the start.

    Attributes:
        form: ``"lbfgs"`` or ``"pgd"``.
        loss: ``"active"``, or the paper's ``"norms"``.
        origin: ``"flat"``, towards the gray that costs the target most, or the paper's ``"random"``.
    """

    id: ClassVar[str] = "sponge-vision"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 100
    reads: ClassVar[type | None] = DensitySignals

    form: Literal["lbfgs", "pgd"] = "lbfgs"
    loss: Literal["active", "norms"] = "active"
    origin: Literal["flat", "random"] = "flat"

    @override
    def objective(self) -> Objective:
        return ManyActivations() if self.loss == "active" else LargeActivations()

    @override
    def start(self, target: Target, inputs: Tensor, seed: int) -> Tensor:
        if self.origin == "random":
            return super().start(target, inputs, seed)
        gray = UniformInputs().gray(target, inputs[:1], seed)
        return inputs + ball_of(self.budget, target.space).project(gray - inputs, self.eps)

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        found = super().search(target, inputs, labels, seed)
        found.forwards.add_(LEVELS if self.origin == "flat" else 0)
        return found

    @override
    def optimizer(self) -> Optimizer:
        size = 2.5 * self.eps / self.iterations
        return LBFGS(max(size, self.eps / 4)) if self.form == "lbfgs" else Steps(size)
