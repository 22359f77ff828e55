"""Inputs that a defense turns away: what is handed out in place of an output."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.core.batches import Samples, choose, take
from torpor.core.objects import Objects
from torpor.core.outcome import Generation, Outcome
from torpor.core.work import Work
from torpor.defenses.wrapped import frames_of
from torpor.targets.base import Target
from torpor.targets.candidates import CandidateTarget
from torpor.targets.steps import StepTarget


def nothing(target: Target, count: int) -> Samples:
    """Return ``count`` outputs that say nothing, of the target's own kind: no text, no objects, NaN for each class."""
    if isinstance(target, StepTarget):
        return tuple(Generation((), "", capped=False) for _ in range(count))
    if isinstance(target, CandidateTarget):
        numbers = torch.zeros(0, dtype=torch.int64)
        if target.space.kind == "image":
            return (Objects(torch.zeros(0, 4), numbers, torch.zeros(0)),) * count
        frame = Objects(torch.zeros(0, 4), numbers, torch.zeros(0), numbers)  # followed by no track
        return ((frame,) * frames_of(target.space),) * count
    return torch.full((count, int(target.details()["classes"])), torch.nan, device=target.device)


def without(target: Target, outcome: Outcome, refused: Tensor) -> Outcome:
    """Return ``outcome`` with the outputs of ``refused`` samples (bool ``[B]``) withheld; their work is done."""
    already = refused if outcome.refused is None else refused | outcome.refused
    return Outcome(choose(refused, nothing(target, len(refused)), outcome.outputs), outcome.work, already)


def run_passed(target: Target, inputs: Samples, refused: Tensor) -> Outcome:
    """Run what is not ``refused`` (bool ``[B]``); what is costs the target nothing."""
    passed = (~refused).nonzero().flatten()
    counts = torch.zeros(len(inputs), len(target.units), dtype=torch.int64)
    outputs, turned = nothing(target, len(inputs)), refused.clone()
    if len(passed):
        outcome = target.run(take(inputs, passed))
        counts[passed] = outcome.work.counts
        if isinstance(outputs, torch.Tensor):
            outputs[passed.to(outputs.device)] = outcome.outputs
        else:
            found = dict(zip(passed.tolist(), outcome.outputs, strict=True))
            outputs = tuple(found.get(row, output) for row, output in enumerate(outputs))
        if outcome.refused is not None:
            turned[passed] = outcome.refused
    return Outcome(outputs, Work(counts), turned)
