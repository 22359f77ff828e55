"""(b) What does the attack loop cost on top of the network? ``python -m benchmarks.attack_step``."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common import Always, Options, Row, busy, command, every_exit, images, interleave, network, with_rule
from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.attacks.iterative import amplify
from torpor.attacks.search.balls import BALLS
from torpor.attacks.search.objectives import Labeled
from torpor.attacks.search.optimizers import Change
from torpor.targets.early_exit.target import EarlyExitTarget

GOAL = 1.10
STEPS = 4


def attack_step(
    target: EarlyExitTarget, inputs: Tensor, labels: Tensor, norm: str, options: Options, *, rounds: int = 7
) -> Row:
    """Compare a step of DeepSloth, all samples in it, with the network's own forward and backward pass."""
    target = with_rule(target, Always())
    attack = DeepSloth(norm=norm, eps={"Linf": 0.03125, "L2": 0.35, "L1": 8.0}[norm])

    def attacked(steps: int) -> None:
        amplify(
            target,
            inputs,
            objective=Labeled(attack.objective(), labels),
            ball=BALLS[norm],
            eps=attack.eps,
            optimizer=attack.optimizer(),
            steps=steps,
            variable=Change(),
            start=torch.zeros_like(inputs),
        )

    def own() -> Tensor:
        leaf = inputs.clone().requires_grad_()
        logits = every_exit(target, leaf)
        (gradient,) = torch.autograd.grad(-logits[:, :-1].log_softmax(-1).mean(-1).sum(), leaf)
        return gradient

    times = interleave(
        {
            "attack": lambda: attacked(STEPS),
            "start": lambda: attacked(0),
            "own": lambda: [own() for _ in range(STEPS)],
        },
        options,
        rounds=rounds,
    )
    value, ci95 = times.estimate(lambda median: (median["attack"] - median["start"]) / median["own"])
    note = f"{1e3 * times.seconds['own'].mean() / STEPS:.0f} ms per pass{busy(times)}"
    return Row(f"(b) attack step / forward + backward, {norm}", value, ci95, GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare steps in every norm at batch 128."""
    target = network()
    inputs, labels = images(target, 128, options)
    return [attack_step(target, inputs, labels, norm, options) for norm in BALLS]


if __name__ == "__main__":
    command(run)
