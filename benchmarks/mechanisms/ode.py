"""Adaptive ODE solvers: how much more often attacked inputs evaluate the right-hand side, as AntiNODE counts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.mechanisms.row import Row
from torpor.attacks.base import Attack
from torpor.attacks.controls.dense import Flat, Noise
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.registry import load_attack
from torpor.attacks.solver.antinode import AntiNODE
from torpor.data.images import to_unit
from torpor.targets.ode.target import OdeTarget
from torpor.zoo.classifiers import CLASSIFIERS

NAME = "odenet-digits"
EPS = 16 / 255
METRIC = "NFE, % more"
THEIRS = "up to 335 % (abstract; no ball, dopri5 and adaptive Heun on MNIST and CIFAR-10)"
MOST_STEPS = 256
"""Cap for Heun's method, whose order is lower, so that it takes many more steps."""


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Attack the network with dopri5 at one budget, then send what was found to the other solver, and back."""
    target, (images, labels) = load(), samples(limit, data_dir)
    other = target.with_controller(tableau="adaptive_heun", max_steps=MOST_STEPS)
    found, standard, passes = attacked(target, Standard(eps=EPS), images, labels)
    steps = max(1, int(passes) // 2)
    table = [standard]
    crafted = found
    for attack in (AntiNODE(eps=EPS, steps=steps), AntiNODE(eps=EPS, steps=100)):
        crafted, row, _ = attacked(target, attack, images, labels)
        table.append(row)
    beside = (load_attack("square", eps=EPS, queries=max(1, int(passes))), Noise(eps=EPS), Flat(eps=EPS))
    table += [attacked(target, each, images, labels)[1] for each in beside]
    back, own, _ = attacked(other, AntiNODE(eps=EPS, steps=100), images, labels)
    table.append(replace(own, target=f"{NAME}, adaptive_heun"))
    sent = [("dopri5 to adaptive_heun", other, crafted), ("adaptive_heun to dopri5", target, back)]
    for way, victim, inputs in sent:
        table.append(row_of(victim, f"antinode, sent from {way}", images, inputs, 0, METRIC))
    return [*table, mates(target, images, crafted)]


def load() -> OdeTarget:
    """Load the network."""
    target = CLASSIFIERS[NAME].load()
    assert isinstance(target, OdeTarget)
    return target


def samples(limit: int, data_dir: Path | None) -> tuple[Tensor, Tensor]:
    """Return test images and their classes."""
    batch = CLASSIFIERS[NAME].data(data_dir).load("test", limit)
    return to_unit(batch.inputs), batch.references


def attacked(target: OdeTarget, attack: Attack, images: Tensor, labels: Tensor) -> tuple[Tensor, Row, float]:
    """Return the attacked images, the row, and the passes per sample."""
    result = attack(target, images, references=labels)
    passes = (result.candidates.forwards + result.candidates.backwards).double().mean().item()
    return result.inputs, row_of(target, attack.id, images, result.inputs, passes, METRIC), passes


def row_of(target: OdeTarget, attack: str, images: Tensor, inputs: Tensor, passes: float, metric: str) -> Row:
    """Return how much more often the right-hand side is evaluated, of the mean of all samples."""
    before, after = (evaluations(target, each).mean().item() for each in (images, inputs))
    theirs = THEIRS if attack.startswith("antinode") else ""
    return Row(NAME, attack, "Linf 16/255", metric, 100 * (after / before - 1), theirs, passes, len(images))


def evaluations(target: OdeTarget, images: Tensor) -> Tensor:
    """Return the evaluations that each image takes, float64 ``[B]``."""
    return target.steps(target.run(images).work)["evaluations"].double()


def mates(target: OdeTarget, images: Tensor, costly: Tensor) -> Row:
    """Return what one attacked image does to the mates that share its steps: batches of 8, one of them attacked."""
    shared = target.with_controller(shared=True)
    worst = costly[evaluations(target, costly).argmax()][None]
    before, after = [], []
    for batch in images.split(8):
        before.append(evaluations(shared, batch)[0])
        after.append(evaluations(shared, torch.cat([worst, batch[1:]]))[0])
    more = 100 * (torch.stack(after).mean() / torch.stack(before).mean() - 1).item()
    return Row(NAME, "antinode, one of 8 mates", "Linf 16/255", f"{METRIC}, shared steps", more, "", 0, len(images))
