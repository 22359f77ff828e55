"""(o) Does attacked work take its time, on gates, tokens and solvers? ``python -m benchmarks.attacked_saving``."""

from __future__ import annotations

import torch

from benchmarks.common import Options, Row, busy, command, images, interleave
from torpor.attacks.registry import load_attack
from torpor.meters.threads import Threads, gainful_threads, using
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.resolve import load_target

GOAL = 0.70
BATCH = 32
ATTACKED = {"skipnet-cifar10": "ilfo:steps=60", "avit-cifar10": "desparsify", "odenet-digits": "antinode"}
"""Attacks that find much on each target in few passes, within Linf 16/255."""


def attacked_saving(target: GatedClassifier, attack: str, options: Options, *, rounds: int) -> Row:
    """Compare the time that clean images save over attacked ones with the FLOPs that they save, in one batch.

    On as many threads as the attacked batch gains from, like ``torpor measure``.
    """
    name = f"(o) time saved / FLOPs saved, clean over attacked, {target.name}, batch {BATCH}"
    clean, references = images(target, BATCH, options)
    sent = load_attack(attack, norm="Linf", eps=16 / 255)(target, clean, references=references).inputs
    costs = [target.prices.cost(target.run(each).work).sum().item() for each in (clean, sent)]
    flops = 1 - costs[0] / costs[1]
    if flops <= 0:
        return Row(name, None, note=f"{attack} found nothing")
    most = torch.get_num_threads()
    threads = Threads(gainful_threads(lambda: target.run(sent), most), most, "measured")
    with using(threads):
        times = interleave(
            {"clean": lambda: target.run(clean), "attacked": lambda: target.run(sent)}, options, rounds=rounds
        )
    value, ci95 = times.estimate(lambda median: (1 - median["clean"] / median["attacked"]) / flops)
    note = f"{flops * value:.0%} of time, {flops:.0%} of FLOPs; {attack}; {threads.used} of {most} threads{busy(times)}"
    return Row(name, value, ci95, GOAL, at_least=True, note=note)


def run(options: Options) -> list[Row]:
    """Compare a network that skips layers, one whose tokens halt, and one that solves an equation."""
    rows = []
    for name, attack in ATTACKED.items():
        target = load_target(name)
        assert isinstance(target, GatedClassifier)
        rows.append(attacked_saving(target, attack, options, rounds=100))
    return rows


if __name__ == "__main__":
    command(run)
