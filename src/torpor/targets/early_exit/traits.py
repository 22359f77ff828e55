"""What a detector of traces reads of early exits, restricted to what the run has executed."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.core.signals import GateSignals
from torpor.targets.sureness import TINY, sureness


def of_exits(signals: GateSignals, exits: Tensor, depth: int) -> Tensor:
    """Return for each exit what its classifier predicted, and whether it ran, ``[B, F]``; differentiable.

    That is confidence, entropy, gap between the two likeliest classes, how far the prediction is from that of the exit
    before (total variation), and spread, mean and log-sum-exp of the logits, held at their last values after the exit
    that was taken. A hard input is unsure in its own way: an attack that pushes all exits to the uniform distribution
    leaves another pattern over depth.

    Args:
        signals: of every exit.
        exits: that were taken, int64 ``[B]``; what follows changes nothing.
        depth: exits of the whole network; where a cap leaves fewer signals, they are read as those of a run that left
            at the last of them.
    """
    logits = signals.exit_logits
    probabilities = logits.softmax(-1)
    moved = (probabilities[:, 1:] - probabilities[:, :-1]).abs().sum(-1) / 2
    first = torch.zeros_like(moved[:, :1])
    spread = (logits.var(-1) + TINY).sqrt()
    curves = (*sureness(logits), torch.cat([first, moved], 1), spread, logits.mean(-1), logits.logsumexp(-1))
    places = torch.arange(depth, device=probabilities.device)
    last = exits.to(probabilities.device).clamp_min(0).unsqueeze(1)
    held = torch.minimum(places.expand(len(last), -1), last)
    return torch.cat([*(curve.gather(1, held) for curve in curves), (places <= last).to(probabilities)], 1)
