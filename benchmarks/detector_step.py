"""(m) What does an iteration of Overload cost on top of the detector? ``python -m benchmarks.detector_step``.

The denominator is what any implementation has to do at each iteration: a forward pass over the candidate pictures, and
back from the sum of the log scores to the pixels, by the network alone, for exactly the candidates that the attack
visited. The attack suppresses the boxes of each candidate picture too, to know its work. Both sides end with one more
pass without gradients, over the last candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.common import Options, Row, busy, command, detector, interleave
from torpor.attacks.overload import TINY, Overload
from torpor.core.signals import CandidateSignals
from torpor.targets.detection import DetectorTarget

GOAL = 1.10
STEPS = 8


def bare(target: DetectorTarget, pictures: Tensor, *, backward: bool) -> Tensor | None:
    """Return the gradient of the sum of the boxes' log scores after the pixels, by the network alone."""
    leaf = pictures.clone().requires_grad_(backward)
    with torch.set_grad_enabled(backward):
        _, scores = target.network(leaf)
        loss = (scores.amax(2) + TINY).log().sum()
    return torch.autograd.grad(loss, leaf)[0] if backward else None


def visited(target: DetectorTarget, attack: Overload, pictures: Tensor) -> list[Tensor]:
    """Return the candidates that a search evaluates, in order."""
    found: list[Tensor] = []

    def signals(pictures: Tensor) -> CandidateSignals:
        found.append(pictures.detach().clone())
        return target.signals(pictures)

    noting = copy.copy(target)
    vars(noting)["signals"] = signals
    attack.search(noting, pictures, (), 0)
    return found


def repeat(target: DetectorTarget, candidates: Sequence[Tensor]) -> None:
    """Do what no implementation can leave out."""
    for pictures in candidates[:-1]:
        bare(target, pictures, backward=True)
    bare(target, candidates[-1], backward=False)


def detector_step(target: DetectorTarget, pictures: Tensor, norm: str, options: Options, *, rounds: int = 7) -> Row:
    """Compare ``STEPS`` iterations of the attack, its set-up included, with the bare passes over its candidates."""
    budget = Overload.default_budget(norm, shape=target.space.shape)
    attack = Overload(norm=norm, eps=budget.eps, steps=STEPS)
    candidates = visited(target, attack, pictures)
    times = interleave(
        {"attack": lambda: attack.search(target, pictures, (), 0), "bare": lambda: repeat(target, candidates)},
        options,
        rounds=rounds,
        warmup=1,
    )
    value, ci95 = times.estimate(lambda median: median["attack"] / median["bare"])
    boxes = [target.run(found).work.counts[:, 1].double().mean().item() for found in candidates]
    note = (
        f"{1e3 * times.seconds['bare'].mean() / STEPS:.0f} ms per pass, {boxes[0]:.0f} candidates, "
        f"{boxes[-1]:.0f} at the end{busy(times)}"
    )
    return Row(f"(m) Overload iteration / forward + backward, {norm}", value, ci95, GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare iterations in both norms at batch 16."""
    target, pictures = detector(16)
    return [detector_step(target, pictures, norm, options) for norm in Overload.norms]


if __name__ == "__main__":
    command(run)
