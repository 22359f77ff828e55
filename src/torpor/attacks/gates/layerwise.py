"""Gradients that are rid of conflicts at every gate of a network, not at its input alone (GradMDM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from torpor.attacks.iterative import gradient_of, slope_of, without_conflict
from torpor.attacks.search.balls import per_sample
from torpor.core.errors import UsageError
from torpor.targets.layer_skipping import LayerSkippingSignals


def layerwise_slope(signals: Any, losses: Tensor, guard: Tensor | None, inputs: Tensor) -> Tensor:  # noqa: ANN401
    """Return a gradient of ``losses`` without what would raise ``guard`` at any gate, of length 1 per sample.

    From the last gate to the first, what comes from later gates and what comes from the gate itself are each scaled to
    length 1, the former times the number of later gates that have a gradient, and added up. ``guard`` goes first; of
    ``losses``, what opposes it is taken out at every gate and at the input. Nothing is remembered between calls.

    Where a detector sounds, its alarm alone is followed; see :func:`~torpor.attacks.iterative.slope_of`.

    Raises:
        UsageError: if the signals do not tell what enters each gate.
    """
    if not isinstance(signals, LayerSkippingSignals) or not signals.path:
        raise UsageError(
            "expected a network that tells what enters each of its gates, got gates alone; leave out layerwise"
        )
    assert guard is not None
    kept = _down(signals, guard, [torch.zeros_like(features) for features, _ in signals.path])
    found = _down(signals, losses, kept)
    first = signals.path[0][0]
    own = without_conflict(*(gradient_of((first * each[0]).sum(), inputs, retain_graph=True) for each in (found, kept)))
    if signals.alarm is None:
        return own
    return torch.where(per_sample(signals.alarm.detach() > 0, own), slope_of(signals, losses, guard, inputs), own)


def _down(signals: LayerSkippingSignals, losses: Tensor, kept: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient after what enters each gate, none of which opposes ``kept``, ``[B, C, H, W]`` each."""
    slopes = gradient_of(losses.sum(), signals.margins, retain_graph=True)
    counted = (slopes != 0).to(slopes)
    later = counted.flip(1).cumsum(1).flip(1) - counted
    found: list[Tensor] = []
    for at in reversed(range(len(signals.path))):
        features, margin = signals.path[at]
        total = _unit(gradient_of((margin * slopes[:, at]).sum(), features, retain_graph=True))
        if found:
            through = gradient_of((signals.path[at + 1][0] * found[-1]).sum(), features, retain_graph=True)
            total = total + per_sample(later[:, at], through) * _unit(through)
        found.append(without_conflict(total, kept[at]))
    return found[::-1]


def _unit(gradient: Tensor) -> Tensor:
    """Return each sample's gradient at length 1, or zero."""
    return functional.normalize(gradient.flatten(1)).view_as(gradient)
