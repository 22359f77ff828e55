"""Inputs that a defense rejects: what is handed out in place of an output."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.core.batches import Samples, choose, take
from torpor.core.work import Outcome, Work
from torpor.targets.base import Target


def without(target: Target, outcome: Outcome, rejected: Tensor) -> Outcome:
    """Return ``outcome`` with the outputs of ``rejected`` samples (bool ``[B]``) withheld; their work is done."""
    already = rejected if outcome.rejected is None else rejected | outcome.rejected
    blank = target.family.blank(target, len(rejected))
    return Outcome(choose(rejected, blank, outcome.outputs), outcome.work, already)


def run_passed(target: Target, inputs: Samples, rejected: Tensor) -> Outcome:
    """Run what is not ``rejected`` (bool ``[B]``); what is costs the target nothing."""
    passed = (~rejected).nonzero().flatten()
    counts = torch.zeros(len(inputs), len(target.units), dtype=torch.int64)
    outputs, turned = target.family.blank(target, len(inputs)), rejected.clone()
    if len(passed):
        outcome = target.run(take(inputs, passed))
        counts[passed] = outcome.work.counts
        if isinstance(outputs, Tensor):
            outputs[passed.to(outputs.device)] = outcome.outputs
        else:
            found = dict(zip(passed.tolist(), outcome.outputs, strict=True))
            outputs = tuple(found.get(row, output) for row, output in enumerate(outputs))
        if outcome.rejected is not None:
            turned[passed] = outcome.rejected
    return Outcome(outputs, Work(counts), turned)
