"""(c) What does counting work cost on top of a plain early-exit loop? ``python -m benchmarks.counting``."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common import Options, Row, busy, command, images, interleave, network
from torpor.targets.early_exit import EarlyExitTarget

GOAL = 1.03


@torch.no_grad()
def plain(target: EarlyExitTarget, inputs: Tensor) -> Tensor:
    """Return the logits that each sample leaves with: the loop of a deployment, which checks and counts nothing."""
    features = inputs
    outputs = torch.empty(len(inputs), target.classes)
    rows = torch.arange(len(inputs))
    history = torch.empty(len(inputs), 0, target.classes)
    last = len(target.blocks) - 1
    for k, (_, head) in enumerate(target.blocks[:last]):
        features = target.stage(k, features)
        logits = head(features)
        history = torch.cat([history, logits.unsqueeze(1)], dim=1)
        leaves = target.rule.margin(history) >= 0
        if leaves.any():
            done = rows[leaves]
            outputs[done] = logits[leaves]
            if len(done) == len(rows):
                return outputs
            stays = ~leaves
            rows, features, history = rows[stays], features[stays], history[stays]
    outputs[rows] = target.blocks[last][1](target.stage(last, features))
    return outputs


def counting(target: EarlyExitTarget, inputs: Tensor, batch_size: int, options: Options, *, rounds: int) -> Row:
    """Compare ``target.run`` with the plain loop, ``batch_size`` inputs at a time."""
    batches = inputs.split(batch_size)
    times = interleave(
        {
            "run": lambda: [target.run(batch) for batch in batches],
            "plain": lambda: [plain(target, batch) for batch in batches],
        },
        options,
        rounds=rounds,
    )
    value, ci95 = times.estimate(lambda median: median["run"] / median["plain"])
    note = f"{1e3 * times.seconds['plain'].mean() / len(inputs):.2f} ms per image{busy(times)}"
    return Row(f"(c) run with counts / plain loop, batch {batch_size}", value, ci95, GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare at batch 1 and 128."""
    target = network()
    inputs, _ = images(target, 256, options)
    return [counting(target, inputs[:32], 1, options, rounds=15), counting(target, inputs, 128, options, rounds=15)]


if __name__ == "__main__":
    command(run)
