"""What a trace detector reads: features of the signals of a run, restricted to what the run has executed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torpor.core.signals import CandidateSignals, GateSignals, Signals, StepSignals
from torpor.targets.base import Target
from torpor.targets.candidates import CandidateTarget
from torpor.targets.gates import GateTarget

QUANTILES = (0.1, 0.5, 0.9)
EDGES = (0.01, 0.03, 0.1, 0.25, 0.5, 0.75)
"""Scores between which boxes are counted."""
SHARPNESS = 40.0
"""Of the step at each edge: counts are soft, so that they have a gradient."""
TINY = 1e-9


def read(target: Target, signals: Signals) -> Tensor:
    """Return the features ``[B, F]`` of signals; for videos, of each frame. Differentiable.

    - early exit, for each exit: confidence, entropy, gap between the two likeliest classes, how far the prediction is
      from that of the exit before (total variation), and spread, mean and log-sum-exp of the logits, held at their
      last values behind the exit that was taken; and which exits ran. A hard input is unsure in its own way: an attack
      that pushes all exits to the uniform distribution leaves another pattern over depth.
    - iteration, over the steps that ran: mean, spread, least, largest, first and last value, slope and quantiles of the
      end token's log probability, of entropy, of confidence and of the gap between the two likeliest tokens; the
      number of steps; and how much is repeated.
    - detection: soft counts of boxes between scores, their size, and what was counted, frame by frame.

    Args:
        target: the signals' own.
        signals: see :meth:`torpor.targets.Target.signals`.
    """
    if isinstance(signals, GateSignals):
        assert isinstance(target, GateTarget)
        return of_gates(signals, target.exits(signals.work))
    if isinstance(signals, StepSignals):
        return of_steps(signals)
    assert isinstance(target, CandidateTarget)
    return of_candidates(signals, target.nms.conf)


def _shape(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return confidence, entropy as a share of its maximum, and the gap between the two likeliest, each ``[...]``."""
    chances = logits.softmax(-1)
    entropy = -(chances * chances.clamp_min(TINY).log()).sum(-1) / math.log(logits.shape[-1])
    best = chances.topk(2, -1).values
    return best[..., 0], entropy, best[..., 0] - best[..., 1]


def of_gates(signals: GateSignals, exits: Tensor) -> Tensor:
    """Return what :func:`read` says of early exits.

    Args:
        signals: of every exit.
        exits: that were taken, int64 ``[B]``; what lies behind changes nothing.
    """
    logits = signals.exit_logits
    chances = logits.softmax(-1)
    moved = (chances[:, 1:] - chances[:, :-1]).abs().sum(-1) / 2
    first = torch.zeros_like(moved[:, :1])
    spread = (logits.var(-1) + TINY).sqrt()
    curves = (*_shape(logits), torch.cat([first, moved], 1), spread, logits.mean(-1), logits.logsumexp(-1))
    places = torch.arange(logits.shape[1], device=chances.device)
    last = exits.to(chances.device).clamp_min(0).unsqueeze(1)
    held = torch.minimum(places.expand(len(last), -1), last)
    return torch.cat([*(curve.gather(1, held) for curve in curves), (places <= last).to(chances)], 1)


def of_steps(signals: StepSignals) -> Tensor:
    """Return what :func:`read` says of targets that iterate."""
    mask = signals.mask
    ends = signals.logits.log_softmax(-1)[..., list(signals.eos)].logsumexp(-1)
    curves = (ends, *_shape(signals.logits))
    count = mask.sum(1).to(ends)
    parts = [feature for curve in curves for feature in _pooled(curve, mask)]
    return torch.stack([*parts, count.log(), *_repeated(signals.ids, mask)], 1).to(torch.float32)


def _pooled(curve: Tensor, mask: Tensor) -> list[Tensor]:
    """Return mean, spread, extremes, first, last, slope and quantiles of ``[B, T]`` where ``mask``, each ``[B]``."""
    count = mask.sum(1).clamp_min(1)
    mean = (curve * mask).sum(1) / count
    away = (curve - mean.unsqueeze(1)) * mask
    steps = torch.arange(curve.shape[1], device=curve.device).to(curve)
    middle = (steps - (count.unsqueeze(1) - 1) / 2) * mask
    slope = (away * middle).sum(1) / middle.square().sum(1).clamp_min(1)
    low, high = curve.masked_fill(~mask, torch.inf), curve.masked_fill(~mask, -torch.inf)
    ordered = low.sort(1).values
    at = [ordered.gather(1, ((count - 1) * part).round().to(torch.int64).unsqueeze(1))[:, 0] for part in QUANTILES]
    last = curve.gather(1, (count - 1).unsqueeze(1))[:, 0]
    spread = (away.square().sum(1) / count + TINY).sqrt()
    return [mean, spread, low.amin(1), high.amax(1), curve[:, 0], last, slope, *at]


def _repeated(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of tokens, and of pairs of tokens, that were there before, each ``[B]``; no gradient."""
    size = int(ids.max()) + 1
    pairs = ids[:, :-1] * size + ids[:, 1:]
    return _old(ids, mask), _old(pairs, mask[:, 1:])


def _old(symbols: Tensor, mask: Tensor) -> Tensor:
    ordered = torch.where(mask, symbols, -1).sort(1).values
    again = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    return again.sum(1) / mask.sum(1).clamp_min(1)


def of_candidates(signals: CandidateSignals, conf: float) -> Tensor:
    """Return what :func:`read` says of detectors.

    Args:
        signals: of pictures, or of the frames of videos, one after the other.
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
