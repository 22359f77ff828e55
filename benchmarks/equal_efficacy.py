"""(d) How long until the paper's DeepSloth result is reached? ``python -m benchmarks.equal_efficacy``."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common import Options, Row, busy, command, every_exit, images, interleave, network
from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.core.work import Work
from torpor.targets.early_exit.target import EarlyExitTarget

GOAL = 0.5
EPS, STEP, ITERATIONS = 0.03125, 0.002, 30
LADDER = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)


def reference(target: EarlyExitTarget, inputs: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Return 8-bit images by DeepSloth as published (Linf): every sample to the end, the last iterate returned."""
    generator = torch.Generator().manual_seed(0)
    delta = (torch.rand(inputs.shape, generator=generator) * 2 - 1) * STEP
    for _ in range(iterations):
        candidate = (inputs + delta).clamp(0, 1).requires_grad_()
        logits = every_exit(target, candidate)[:, :-1]
        loss = -(logits.softmax(-1) + 1e-9).log().mean(-1).mean(0).sum()
        (gradient,) = torch.autograd.grad(loss, candidate)
        delta = (candidate.detach() - STEP * gradient.sign() - inputs).clamp(-EPS, EPS)
        delta = (inputs + delta).clamp(0, 1) - inputs
    return target.space.snap(inputs + delta)


def efficacy(target: EarlyExitTarget, inputs: Tensor, work: Work) -> float:
    """Return the mean share of the network that is saved; 0 is what the attacker wants."""
    static = target.prices.cost(target.max_work(inputs))
    return (1 - target.prices.cost(work) / static).mean().item()


def equal_efficacy(
    target: EarlyExitTarget, inputs: Tensor, labels: Tensor, options: Options, *, rounds: int = 3
) -> list[Row]:
    """Compare the time of both, and the time of ours to the end of its default schedule.

    Ours takes the fewest steps of ``LADDER`` whose verified result is at least as good as the reference's. Its time
    includes the verification on the hard target, the reference's does not.
    """
    name = "(d) DeepSloth, time to the paper's efficacy / paper's schedule"
    clean = efficacy(target, inputs, target.run(inputs).work)
    wanted = efficacy(target, inputs, target.run(reference(target, inputs)).work)

    def ours(steps: int | None) -> float:
        result = DeepSloth(eps=EPS, steps=steps)(target, inputs, references=labels)
        return efficacy(target, inputs, result.attacked.work)

    reached = {}
    for steps in LADDER:
        reached[steps] = ours(steps)
        if reached[steps] <= wanted:
            break
    steps, got = min(reached.items(), key=lambda item: item[1])
    note = f"efficacy {clean:.3f} clean, {wanted:.4f} paper's, {got:.4f} ours after {steps} steps"
    if got > wanted:
        return [Row(name, None, note=note)]
    times = interleave(
        {"paper": lambda: reference(target, inputs), "ours": lambda: ours(steps), "default": lambda: ours(None)},
        options,
        rounds=rounds,
        warmup=0,
    )
    value, ci95 = times.estimate(lambda median: median["ours"] / median["paper"])
    default, default_ci95 = times.estimate(lambda median: median["default"] / median["paper"])
    end = f"efficacy {ours(None):.4f}, samples leave at the static bound"
    return [
        Row(name, value, ci95, GOAL, note=note + busy(times)),
        Row("(d) DeepSloth, our default schedule / paper's schedule", default, default_ci95, note=end),
    ]


def run(options: Options) -> list[Row]:
    """Compare on 128 images."""
    target = network()
    inputs, labels = images(target, 128, options)
    return equal_efficacy(target, inputs, labels, options)


if __name__ == "__main__":
    command(run)
