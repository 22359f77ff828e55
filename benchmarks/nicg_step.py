"""(i) What does an iteration of NICGSlowDown cost on top of the captioner? ``python -m benchmarks.nicg_step``.

The denominator is what any implementation has to do at each iteration: encode the candidate pictures, decode them
greedily word by word until the last caption ends (captions that ended leave), and go back from the end token's
log-probability at every step to the pixels. It is done by the network alone, in a plain loop, for exactly the
candidates that the attack visited, so both sides make the same steps for the same rows. A recurrent decoder computes
the same with and without its own words given, so decoding with gradients *is* the teacher-forced pass, and there is no
second one on either side. Both sides end with one more pass without gradients, over the last candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.common import Options, Row, busy, caption_steps, captioner, command, interleave
from torpor.attacks.nicg_slowdown import NICGSlowDown
from torpor.core.signals import StepSignals
from torpor.targets.captioner import CaptionerTarget

GOAL = 1.15
STEPS = 8


def bare(target: CaptionerTarget, pictures: Tensor, *, backward: bool) -> Tensor | None:
    """Return the gradient of the end token's log-probability after the pixels, by the network alone."""
    leaf = pictures.clone().requires_grad_(backward)
    with torch.set_grad_enabled(backward):
        scores = torch.cat([scores for _, _, scores in caption_steps(target, leaf)])
        loss = scores.log_softmax(-1)[:, target.network.vocabulary.end].sum()
    return torch.autograd.grad(loss, leaf)[0] if backward else None


def visited(target: CaptionerTarget, search: Callable[[CaptionerTarget], object]) -> list[Tensor]:
    """Return the candidates that a search evaluates, in order."""
    found: list[Tensor] = []

    def signals(pictures: Tensor) -> StepSignals:
        found.append(pictures.detach().clone())
        return target.signals(pictures)

    noting = copy.copy(target)
    vars(noting)["signals"] = signals
    search(noting)
    return found


def repeat(target: CaptionerTarget, candidates: Sequence[Tensor]) -> None:
    """Do what no implementation can leave out."""
    for pictures in candidates[:-1]:
        bare(target, pictures, backward=True)
    bare(target, candidates[-1], backward=False)


def nicg_step(target: CaptionerTarget, pictures: Tensor, norm: str, options: Options, *, rounds: int = 7) -> Row:
    """Compare ``STEPS`` iterations of the attack, its set-up included, with the bare passes over its candidates."""
    budget = NICGSlowDown.default_budget(norm, shape=target.space.shape)
    attack = NICGSlowDown(norm=norm, eps=budget.eps, steps=STEPS)

    def search(target: CaptionerTarget) -> object:
        return attack.search(target, pictures, (), 0)

    candidates = visited(target, search)
    times = interleave(
        {"attack": lambda: search(target), "bare": lambda: repeat(target, candidates)}, options, rounds=rounds, warmup=1
    )
    value, ci95 = times.estimate(lambda median: median["attack"] / median["bare"])
    lengths = [target.run(found).work.counts[:, 1].double().mean().item() for found in candidates]
    note = (
        f"{1e3 * times.seconds['bare'].mean() / STEPS:.0f} ms per pass, "
        f"captions of {lengths[0]:.0f} words, {lengths[-1]:.0f} at the end{busy(times)}"
    )
    return Row(f"(i) NICGSlowDown iteration / forward + backward, {norm}", value, ci95, GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare iterations in both norms at batch 32."""
    target, pictures = captioner(32)
    return [nicg_step(target, pictures, norm, options) for norm in NICGSlowDown.norms]


if __name__ == "__main__":
    command(run)
