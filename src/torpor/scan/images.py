"""Trigger inversion of images: one small change for all of them, learned on some, that raises the cost of others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torpor.attacks.decoder.objectives import end_score, masked_mean
from torpor.attacks.search.balls import apply, ball_of, check_budget
from torpor.attacks.search.objectives import CloseGates, ExpectedCost, UniformExits
from torpor.attacks.search.optimizers import Adam, CosineSteps, Optimizer, Steps
from torpor.attacks.universal import descend
from torpor.core.budget import PATCHES, Budget
from torpor.core.signals import CandidateSignals, GateSignals, StepSignals
from torpor.core.space import DenseSpace
from torpor.metrics.headroom import headroom
from torpor.scan.natural import Costs, costs_of
from torpor.targets.base import Target

BATCH = 64
"""Images that a step looks at."""
STEPS = 60
STARTS = 1
"""Random starts of each search, of which the one that costs most is kept."""
RATE = 0.1
"""Of Adam on what a patch shows, as SlowFormer's."""
WIDE_STEP = 0.2
"""First step of a wide search, of the radius; steps fall to 0 along a cosine."""


@singledispatch
def saving(signals: Any) -> Tensor | None:  # noqa: ANN401 - of any family
    """Return what is saved of the cost, ``[B]``, differentiable; None if these signals tell none."""
    return None


@saving.register
def of_gates(signals: GateSignals) -> Tensor:
    """Return how far gates are past their thresholds, or what neurons would save.

    >>> from torpor.core.work import Work
    >>> work = Work(torch.ones(1, 1, dtype=torch.int64))
    >>> round(saving(GateSignals(None, torch.tensor([[0.2, -1.0]]), work)).item(), 3)
    0.25
    """
    labels = torch.zeros(len(signals.margins), dtype=torch.int64)
    return (CloseGates() if signals.margins.shape[1] else ExpectedCost())(signals, labels)


@saving.register
def of_steps(signals: StepSignals) -> Tensor:
    """Return the mean log-probability of the end token over the steps that ran."""
    return masked_mean(end_score(signals) - signals.logits.logsumexp(-1), signals)


@saving.register
def of_candidates(signals: CandidateSignals) -> Tensor:
    """Return by how much boxes fall short of a score of 1 in their best class, on average."""
    return (1 - signals.scores.amax(-1)).mean(1)


@dataclass(frozen=True)
class Search:
    """A kind of trigger that is searched.

    Attributes:
        name: of its figure.
        budget: how far the trigger may go.
        wide: whether the search begins without any change and draws exits to no decision, as who plants a backdoor
            does. In a wide ball a random start is so far from natural images that descent does not return to what
            raises the cost of all of them; in a narrow one it is near enough.
    """

    name: str
    budget: Budget
    wide: bool = False


SEARCHES = (
    Search("trigger_linf", Budget("Linf", 8 / 255)),
    Search("trigger_patch", Budget("patch", 0.04)),
    Search("trigger_wide", Budget("Linf", 64 / 255), wide=True),
)
"""What is searched by default: EfficFrog's radius, a patch of 4 % of the area, and a quarter of the contrast."""


def undecided(signals: Any) -> Tensor | None:  # noqa: ANN401 - of any family
    """Return how far internal exits are from no decision, ``[B]``; what :func:`saving` does without exits.

    >>> flat = GateSignals(torch.zeros(1, 3, 4), torch.zeros(1, 2), None)
    >>> undecided(flat).tolist()
    [0.0]
    """
    logits = getattr(signals, "logits", None)
    if isinstance(signals, GateSignals) and logits is not None and signals.margins.shape[1]:
        return UniformExits()(signals, torch.zeros(len(logits), dtype=torch.int64))
    return saving(signals)


@dataclass(frozen=True, eq=False)
class Inverted:
    """The costliest change that was found, and what it does to other inputs.

    Attributes:
        budget: of the change.
        share: of the headroom that it takes on average of inputs that it was not learned on.
        noise: the same of a random change of this budget, the control.
        change: pixels ``[1, C, H, W]``.
    """

    budget: Budget
    share: float
    noise: float
    change: Tensor


def can_invert(target: Target, inputs: Tensor) -> bool:
    """Tell whether the target's signals say what is saved of its cost."""
    if target.family.signals is None or not isinstance(target.space, DenseSpace):
        return False
    with torch.no_grad():
        return saving(target.signals(inputs[:1].to(target.device))) is not None


def invert(target: Target, learn: Tensor, held_out: Tensor, search: Search, seed: int = 0) -> Inverted:
    """Search for one change to all images within a budget that raises their cost.

    Args:
        target: whose signals say what is saved, see :func:`can_invert`.
        learn: images to learn from, ``[N, C, H, W]``.
        held_out: images to measure it on, ``[M, C, H, W]``.
        search: how far the change may go, and where the search begins.
        seed: of the random starts.

    Raises:
        UsageError: if the budget does not apply to the target's inputs.
    """
    budget = search.budget
    check_budget(budget, target.space)
    space, ball = target.space, ball_of(budget, target.space)
    assert isinstance(space, DenseSpace)
    like = learn[:1].to(target.device)
    starts = [ball.random([torch.Generator().manual_seed(seed + at)], budget.eps, like) for at in range(STARTS)]

    def share(change: Tensor, images: Tensor) -> float:
        sent = apply(images, ball.common(change, images), ball, budget.eps, space)
        return share_taken(costs_of(target, images), costs_of(target, sent))

    found = [
        descend(
            target,
            learn,
            objective=lambda signals, beside: _found(undecided(signals) if search.wide else saving(signals)),
            ball=ball,
            eps=budget.eps,
            optimizer=_optimizer(search),
            schedule=_batches(learn),
            steps=STEPS,
            start=torch.zeros_like(start) if search.wide else start,
        ).perturbations
        for start in starts
    ]
    best = max(found, key=lambda change: share(change, learn))
    return Inverted(budget, share(best, held_out), max(share(start, held_out) for start in starts), best)


def share_taken(clean: Costs, costs: Costs) -> float:
    """Return the mean share of the headroom that inputs take over their clean versions; 0 where there is none.

    >>> most = np.array([4.0, 4.0])
    >>> share_taken(Costs(np.array([2.0, 4.0]), most), Costs(np.array([3.0, 4.0]), most))
    0.25
    """
    most = np.maximum(clean.static, costs.static)
    return float(np.nan_to_num(headroom(costs.cost, clean.cost, most)).mean())


def _found(loss: Tensor | None) -> Tensor:
    assert loss is not None
    return loss


def _optimizer(search: Search) -> Optimizer:
    budget = search.budget
    if search.wide:
        return CosineSteps(WIDE_STEP * budget.eps, STEPS)
    return Adam(RATE) if budget.norm in PATCHES else Steps(0.1 * budget.eps)


def _batches(images: Tensor) -> Iterator[tuple[Tensor, None]]:
    parts = images.split(BATCH)
    for step in range(STEPS):
        yield parts[step % len(parts)], None
