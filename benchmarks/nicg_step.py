"""(i) What does an iteration of NICGSlowDown cost on top of the captioner? ``python -m benchmarks.nicg_step``.

The denominator is what any implementation has to do at each iteration: encode the candidate images, decode them
greedily word by word until the last caption ends (captions that ended leave), and go back from the end token's
log-probability at every step to the pixels. It is done by the network alone, in a plain loop, for exactly the
candidates that the attack visited, so both sides make the same steps for the same rows. A recurrent decoder computes
the same with and without its own words given, so decoding with gradients *is* the teacher-forced pass, and there is no
second one on either side. Both sides end with one more pass without gradients, over the last candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common import Options, Row, caption_steps, captioner, command
from benchmarks.iteration import STEPS, iteration
from torpor.attacks.decoder.nicg_slowdown import NICGSlowDown
from torpor.targets.decoder.captioner import CaptionerTarget

GOAL = 1.15


def bare(target: CaptionerTarget, inputs: Tensor, *, backward: bool) -> Tensor | None:
    """Return the gradient of the end token's log-probability after the pixels, by the network alone."""
    leaf = inputs.clone().requires_grad_(backward)
    with torch.set_grad_enabled(backward):
        scores = torch.cat([scores for _, _, scores in caption_steps(target, leaf)])
        loss = scores.log_softmax(-1)[:, target.network.vocabulary.end].sum()
    return torch.autograd.grad(loss, leaf)[0] if backward else None


def nicg_step(target: CaptionerTarget, inputs: Tensor, norm: str, options: Options, *, rounds: int = 7) -> Row:
    """Compare iterations of the attack with the bare passes."""
    budget = NICGSlowDown.default_budget(norm, shape=target.space.shape)
    attack = NICGSlowDown(norm=norm, eps=budget.eps, steps=STEPS)

    def search(target: CaptionerTarget) -> object:
        return attack.search(target, inputs, (), 0)

    def count(found: Tensor) -> Tensor:
        return target.run(found).work.counts[:, 1]

    row = Row(f"(i) NICGSlowDown iteration / forward + backward, {norm}", None, goal=GOAL, note="words per caption")
    return iteration(row, target, search, bare, count, options, rounds)


def run(options: Options) -> list[Row]:
    """Compare iterations in both norms at batch 32."""
    target, inputs = captioner(32)
    return [nicg_step(target, inputs, norm, options) for norm in NICGSlowDown.norms]


if __name__ == "__main__":
    command(run)
