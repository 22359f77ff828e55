"""Smaller caps for a run whose static bound is not affordable: it ends gracefully instead of not at all."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from torpor.core.batches import Samples
from torpor.core.work import Work
from torpor.defenses.box_caps import capped
from torpor.defenses.deadline import LEAST
from torpor.targets.base import Target
from torpor.targets.detection import DetectorTarget
from torpor.targets.early_exit import EarlyExitTarget
from torpor.targets.steps import StepTarget
from torpor.targets.tracking import TrackerTarget


def affordable(target: Target, inputs: Samples, flops: float, steps: float = float("inf")) -> Target | None:
    """Return ``target`` with the largest caps by which ``inputs`` together cannot cost more; None if there are none.

    Args:
        target: as deployed; its own caps are never raised.
        inputs: of one run.
        flops: that all may cost together.
        steps: decoder steps that all may run together.
    """

    def fits(smaller: Target) -> bool:
        bound = smaller.max_work(inputs)
        return smaller.prices.cost(bound).sum().item() <= flops and steps_of(smaller, bound) <= steps

    if fits(target):
        return target
    most, at = _ladder(target)
    rung = bisect_right(range(1, most), False, key=lambda rung: not fits(at(rung)))
    return at(rung) if rung else None


def smallest(target: Target) -> Target:
    """Return ``target`` with the smallest caps that it can have."""
    return _ladder(target)[1](1)


def _ladder(target: Target) -> tuple[int, Callable[[int], Target]]:
    """Return how many settings of its caps a target has, its own included, and the target with each, from 1."""
    if isinstance(target, EarlyExitTarget):
        return len(target.units) - LEAST + 1, lambda rung: target.upto(rung + LEAST - 1)
    if isinstance(target, StepTarget):
        return target.cap, target.with_cap
    if isinstance(target, DetectorTarget | TrackerTarget):
        most = max(min(target.nms.max_nms, target.detector.anchors * len(target.classes)), target.nms.max_det)
        return most, lambda rung: target.with_nms(capped(target.nms, rung, rung))
    return 1, lambda rung: target


def bound_of(target: Target, inputs: Samples) -> float:
    """Return the static bound of ``inputs`` together, in FLOPs."""
    return target.prices.cost(target.max_work(inputs)).sum().item()


def steps_of(target: Target, work: Work) -> int:
    """Return the decoder steps of all samples together; 0 where nothing is decoded."""
    return int(target.iterations(work).sum()) if isinstance(target, StepTarget) else 0
