"""DeepSloth's universal perturbations: one for all inputs, and one per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.early_exit.deepsloth import PAPER
from torpor.attacks.search.balls import L1, Ball, ball_of
from torpor.attacks.search.objectives import EXITS, UniformExits
from torpor.attacks.search.optimizers import Optimizer, ShrinkingBall, Steps
from torpor.attacks.universal import BATCH, Learned, Universal, descend, learned_by_class
from torpor.core.budget import geometry
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper
from torpor.targets.early_exit.family import GateTarget


@dataclass(frozen=True, kw_only=True)
class DeepSlothUniversal(Universal):
    """Push every internal classifier to the uniform distribution with one perturbation for all inputs.

    Linf: one batch of 250, 20 signed steps of 0.005 (0.16 eps) from a uniform start in the ball. L2: 11 epochs of 5
    batches of 50 steps; step and ball shrink by a tenth per epoch. L1: 10 batches of 100 steps on the 10 % of pixels
    with the largest gradients. A patch has the steps of Linf, scaled to the whole range of a pixel.
    """

    id: ClassVar[str] = "deepsloth-universal"
    paper: ClassVar[Paper | None] = PAPER
    reads: ClassVar[type | None] = GateSignals
    needs: ClassVar[tuple[str, ...]] = (EXITS,)

    @override
    def learn(self, target: GateTarget, inputs: Tensor, references: Tensor | None, seed: int) -> Learned:
        ball: Ball = L1(keep=0.1) if self.norm == "L1" else ball_of(self.budget, target.space)
        epochs, batches, repeats = {"Linf": (1, 1, 20), "L2": (11, 5, 50), "L1": (1, 10, 100)}[geometry(self.norm)]
        batches = min(batches, -(-len(inputs) // BATCH))  # with fewer inputs the ball must still shrink to its end
        steps = epochs * batches * repeats
        optimizer: Optimizer = Steps((0.0625 if self.norm == "L1" else 0.16) * self.eps)
        if self.norm == "L2":
            optimizer = ShrinkingBall(steps, self.eps, period=batches * repeats, size=0.1, cosine=False)
        like = inputs[:1].to(target.device)
        return descend(
            target,
            inputs,
            objective=UniformExits(),
            ball=ball,
            eps=self.eps,
            optimizer=optimizer,
            schedule=_schedule(inputs[: BATCH * batches], epochs, repeats),
            steps=steps,
            start=ball.random([torch.Generator().manual_seed(seed)], optimizer.radius(0, self.eps), like),
        )


@dataclass(frozen=True, kw_only=True)
class DeepSlothClassUniversal(DeepSlothUniversal):
    """Push every internal classifier to the uniform distribution with one perturbation per true class.

    The released code takes the steps of 5 batches per epoch for each class in L2, though inputs of one class rarely
    fill more than one. Here each batch that there is has its own 50 steps, so that schedule and ball end with them.
    """

    id: ClassVar[str] = "deepsloth-class-universal"

    def learn(self, target: GateTarget, inputs: Tensor, references: Tensor | None, seed: int) -> Learned:
        """See :meth:`Universal.learn`; ``references`` are required.

        Raises:
            UsageError: without references.
        """
        return learned_by_class(self.id, super().learn, target, inputs, references, seed)


def _schedule(inputs: Tensor, epochs: int, repeats: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batch of each step, and classes that :class:`UniformExits` does not look at."""
    for _ in range(epochs):
        for batch in inputs.split(BATCH):
            for _ in range(repeats):
                yield batch, torch.zeros(len(batch), dtype=torch.int64)
