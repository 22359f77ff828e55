"""(m) What does an iteration of Overload cost on top of the detector? ``python -m benchmarks.detector_step``.

The denominator is what any implementation has to do at each iteration: a forward pass over the candidate images, and
back from the sum of the log scores to the pixels, by the network alone, for exactly the candidates that the attack
visited. The attack suppresses the boxes of each candidate image too, to know its work. Both sides end with one more
pass without gradients, over the last candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common import Options, Row, command, detector
from benchmarks.iteration import STEPS, iteration
from torpor.attacks.detector.overload import TINY, Overload
from torpor.targets.detector.detection import DetectorTarget

GOAL = 1.10


def bare(target: DetectorTarget, inputs: Tensor, *, backward: bool) -> Tensor | None:
    """Return the gradient of the sum of the boxes' log scores after the pixels, by the network alone."""
    leaf = inputs.clone().requires_grad_(backward)
    with torch.set_grad_enabled(backward):
        _, scores = target.network(leaf)
        loss = (scores.amax(2) + TINY).log().sum()
    return torch.autograd.grad(loss, leaf)[0] if backward else None


def detector_step(target: DetectorTarget, inputs: Tensor, norm: str, options: Options, *, rounds: int = 7) -> Row:
    """Compare iterations of the attack with the bare passes."""
    budget = Overload.default_budget(norm, shape=target.space.shape)
    attack = Overload(norm=norm, eps=budget.eps, steps=STEPS)

    def search(target: DetectorTarget) -> object:
        return attack.search(target, inputs, (), 0)

    def count(found: Tensor) -> Tensor:
        return target.run(found).work.counts[:, 1]

    row = Row(f"(m) Overload iteration / forward + backward, {norm}", None, goal=GOAL, note="candidates")
    return iteration(row, target, search, bare, count, options, rounds)


def run(options: Options) -> list[Row]:
    """Compare iterations in both norms at batch 16."""
    target, inputs = detector(16)
    return [detector_step(target, inputs, norm, options) for norm in Overload.norms]


if __name__ == "__main__":
    command(run)
