"""Smaller caps for a run whose static bound is not affordable: it ends gracefully instead of not at all."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from torpor.core.batches import Samples
from torpor.core.work import Work
from torpor.targets.base import Target


def affordable(target: Target, inputs: Samples, flops: float, steps: float = float("inf")) -> Target | None:
    """Return the highest rung of ``target`` where ``inputs`` together cannot cost more; None if there is none.

    Args:
        target: as deployed, its defenses included; see :class:`~torpor.targets.capabilities.Capped`. Without rungs, it
            is afforded as it is or not at all.
        inputs: of one run.
        flops: that all may cost together, what defenses spend included.
        steps: decoder steps that all may run together.
    """

    def fits(smaller: Target) -> bool:
        bound = smaller.max_work(inputs)
        return smaller.prices.cost(bound).sum().item() <= flops and steps_of(smaller, bound) <= steps

    if fits(target):
        return target
    below = range(1, rungs_of(target))
    place = bisect_left(below, True, key=lambda rung: fits(at_rung(target, rung)))
    return at_rung(target, below[place]) if place < len(below) else None


def smallest(target: Target) -> Target:
    """Return ``target`` with the smallest caps that it can have."""
    return at_rung(target, rungs_of(target) - 1)


def rungs_of(target: Any) -> int:  # noqa: ANN401 - perhaps with caps
    """Return how many settings of its caps a target has, its own included."""
    return int(target.rungs()) if target.offers("rungs", "at_rung") else 1


def at_rung(target: Any, rung: int) -> Target:  # noqa: ANN401 - one that has caps, unless it is rung 0
    """Return the target at a rung, from 0, itself."""
    found: Target = target.at_rung(rung) if rung else target
    return found


def bound_of(target: Target, inputs: Samples) -> float:
    """Return the static bound of ``inputs`` together, in FLOPs."""
    return target.prices.cost(target.max_work(inputs)).sum().item()


def steps_of(target: Any, work: Work) -> int:  # noqa: ANN401 - perhaps one that iterates
    """Return the decoder steps of all samples together; 0 where nothing is decoded."""
    return int(target.iterations(work).sum()) if target.offers("iterations") else 0
