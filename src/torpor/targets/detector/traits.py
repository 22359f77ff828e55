"""What a detector of traces reads of targets that find objects."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.core.signals import CandidateSignals
from torpor.targets.sureness import TINY

EDGES = (0.01, 0.03, 0.1, 0.25, 0.5, 0.75)
"""Scores between which boxes are counted."""
SHARPNESS = 40.0
"""Of the step at each edge: counts are soft, so that they have a gradient."""


def of_candidates(signals: CandidateSignals, conf: float) -> Tensor:
    """Return soft counts of boxes between scores, their size, and what was counted, ``[R, F]``; differentiable.

    Args:
        signals: of images, or of the frames of videos, one after the other.
        conf: the threshold above which boxes are candidates.
    """
    best = signals.scores.amax(-1)
    above = torch.stack([_soft(best, edge).sum(1) for edge in (*EDGES, conf)], 1)
    likely = _soft(best, conf)
    sides = (signals.boxes[..., 2:] - signals.boxes[..., :2]).clamp_min(0)
    area = (sides.prod(-1) * likely).sum(1) / likely.sum(1).clamp_min(TINY)
    counted = signals.work.counts.to(best)  # what the target did about them; no gradient
    columns = [above, best.amax(1, keepdim=True), area.clamp_min(1)[:, None], counted]
    return torch.cat([columns[1], torch.cat([columns[0], *columns[2:]], 1).log1p()], 1)


def _soft(scores: Tensor, edge: float) -> Tensor:
    """Return nearly 1 where scores are above ``edge``, nearly 0 below."""
    return torch.sigmoid(SHARPNESS * (scores - edge))
