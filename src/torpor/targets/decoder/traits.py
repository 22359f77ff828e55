"""What a detector of traces reads of targets that iterate, over the steps that ran."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.core.signals import StepSignals
from torpor.targets.sureness import TINY, sureness

QUANTILES = (0.1, 0.5, 0.9)


def of_steps(signals: StepSignals) -> Tensor:
    """Return how sure the steps were, how many ran, and how much is repeated, ``[B, F]``; differentiable.

    Mean, spread, least, largest, first and last value, slope and quantiles of the end token's log probability, of
    entropy, of confidence and of the gap between the two likeliest tokens; the number of steps; shares of repetitions.
    """
    mask = signals.mask
    ends = signals.logits.log_softmax(-1)[..., list(signals.eos)].logsumexp(-1)
    curves = (ends, *sureness(signals.logits))
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
