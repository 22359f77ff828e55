"""(a) Does leaving early save as much time as it saves FLOPs? ``python -m benchmarks.saving``."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common import Never, Options, Row, busy, command, images, interleave, network, with_rule
from torpor.targets.early_exit.target import EarlyExitTarget

GOAL = 0.85


def saving(target: EarlyExitTarget, inputs: Tensor, batch_size: int, options: Options, *, rounds: int) -> Row:
    """Compare the time that ``target.run`` saves on ``inputs`` with the FLOPs that it saves.

    Both savings are relative to the same code with a rule that never leaves. ``inputs`` are run ``batch_size`` at a
    time. The goal holds for batches.
    """
    whole = with_rule(target, Never())
    batches = inputs.split(batch_size)
    name = f"(a) time saved / FLOPs saved, batch {batch_size}"
    work = torch.cat([target.prices.cost(target.run(batch).work) for batch in batches])
    flops = 1 - (work.sum() / target.prices.cost(target.max_work(inputs)).sum()).item()
    if flops <= 0:
        return Row(name, None, note="no sample left early")
    times = interleave(
        {
            "dynamic": lambda: [target.run(batch) for batch in batches],
            "whole": lambda: [whole.run(batch) for batch in batches],
        },
        options,
        rounds=rounds,
    )
    value, ci95 = times.estimate(lambda median: (1 - median["dynamic"] / median["whole"]) / flops)
    note = f"{flops * value:.0%} of time, {flops:.0%} of FLOPs{busy(times)}"
    goal = GOAL if batch_size > 1 else None
    return Row(name, value, ci95, goal, at_least=True, note=note)


def run(options: Options) -> list[Row]:
    """Compare savings at batch 1 and 128."""
    target = network()
    inputs, _ = images(target, 256, options)
    return [saving(target, inputs[:32], 1, options, rounds=9), saving(target, inputs, 128, options, rounds=9)]


if __name__ == "__main__":
    command(run)
