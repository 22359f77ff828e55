"""Figures of attacks, of each sample: what a family's headline is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.core.objects import frames_of
from torpor.core.work import Work
from torpor.targets.base import Target
from torpor.targets.decoder.contract import StepTarget
from torpor.targets.experts.batch import ExpertBatchTarget

Figure = Callable[[Any, AttackResult], Tensor]
"""From a target and a verified attack to a figure of each sample, ``[B]``, the higher the stronger."""


def headroom(target: Target, result: AttackResult) -> Tensor:
    """Return the share of the headroom that an attack takes, in percent, of the samples that have any, else one 0."""
    clean, cost, static = (
        target.prices.cost(work) for work in (result.clean.work, result.attacked.work, result.static)
    )
    room = clean < static
    return 100 * ((cost - clean) / (static - clean))[room] if room.any() else torch.zeros(1)


def more(target: Target, result: AttackResult) -> Tensor:
    """Return the increase of the cost in percent."""
    clean, cost = (target.prices.cost(each.work).to(torch.float64) for each in (result.clean, result.attacked))
    return 100 * (cost - clean) / clean


def i_loops(target: StepTarget, result: AttackResult) -> Tensor:
    """Return the increase of decoder steps in percent."""
    clean, steps = (target.iterations(each.work).to(torch.float64) for each in (result.clean, result.attacked))
    return 100 * (steps - clean) / clean


def objects(target: Target, result: AttackResult) -> Tensor:
    """Return how many objects are handed on, of videos in all frames."""
    found = [sum(len(frame.followed()) for frame in frames_of(each)) for each in result.attacked.outputs]
    return torch.tensor(found, dtype=torch.float64)


def behind(target: Target, result: AttackResult) -> Tensor:
    """Return the thousands of FLOPs that are spent behind the detector's network."""
    counts = result.attacked.work.counts.clone()
    counts[:, 0] = 0
    return target.prices.cost(Work(counts)) / 1000


def taken(target: ExpertBatchTarget, result: AttackResult) -> Tensor:
    """Return the share of the neighbors' tokens, once per expert that one chose, that found it full, in percent."""
    drops = target.hit(result.attacked.work)["neighbor_drops"].to(torch.float64)
    return 100 * drops / target.neighbors_assigned


def unit(name: str) -> Figure:
    """Return what counts one unit of work.

    Args:
        name: of the unit.
    """

    def count(target: Target, result: AttackResult) -> Tensor:
        place = [each.name for each in target.units].index(name)
        return result.attacked.work.counts[:, place].to(torch.float64)

    return count
