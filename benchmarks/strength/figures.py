"""Figures of attacks, each the mean over samples: what a family's headline is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from torpor.attacks.base import AttackResult
from torpor.core.objects import frames_of
from torpor.core.work import Work
from torpor.targets.base import Target
from torpor.targets.decoder.contract import StepTarget

Figure = Callable[[Any, AttackResult], float]
"""From a target and a verified attack to a figure, the higher the stronger."""


def headroom(target: Target, result: AttackResult) -> float:
    """Return the share of the headroom that an attack takes, in percent, of the samples that have any."""
    clean, cost, static = (
        target.prices.cost(work) for work in (result.clean.work, result.attacked.work, result.static)
    )
    room = clean < static
    return float(100 * ((cost - clean) / (static - clean))[room].mean()) if room.any() else 0.0


def more(target: Target, result: AttackResult) -> float:
    """Return the increase of the cost in percent, the mean over samples."""
    clean, cost = (target.prices.cost(each.work).to(torch.float64) for each in (result.clean, result.attacked))
    return float(100 * ((cost - clean) / clean).mean())


def i_loops(target: StepTarget, result: AttackResult) -> float:
    """Return the increase of decoder steps in percent."""
    clean, steps = (target.iterations(each.work).to(torch.float64) for each in (result.clean, result.attacked))
    return float(100 * ((steps - clean) / clean).mean())


def objects(target: Target, result: AttackResult) -> float:
    """Return how many objects are handed on, of videos in all frames."""
    found = [sum(len(frame.followed()) for frame in frames_of(each)) for each in result.attacked.outputs]
    return sum(found) / len(found)


def behind(target: Target, result: AttackResult) -> float:
    """Return the thousands of FLOPs that are spent behind the detector's network."""
    counts = result.attacked.work.counts.clone()
    counts[:, 0] = 0
    return float(target.prices.cost(Work(counts)).mean()) / 1000


def unit(name: str) -> Figure:
    """Return what counts one unit of work.

    Args:
        name: of the unit.
    """

    def count(target: Target, result: AttackResult) -> float:
        place = [each.name for each in target.units].index(name)
        return result.attacked.work.counts[:, place].to(torch.float64).mean().item()

    return count
