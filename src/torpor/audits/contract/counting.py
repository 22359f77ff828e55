"""Checks against the FLOP counter, of devices, of copies, and of the family."""

from __future__ import annotations

import copy
import pickle

import torch

from torpor.audits.contract.line import ContractBroken, ContractSkipped
from torpor.audits.contract.trial import Trial
from torpor.core.budget import counted
from torpor.core.errors import MeterError, UsageError
from torpor.core.units import symbol
from torpor.core.work import Work
from torpor.meters.flops import counting
from torpor.targets.base import Target

NEAR = 0.02
"""Share by which counted and stated FLOPs may differ: what is free by convention for one is not for the other."""
COUNTED = 4
"""Inputs that are run under the counter."""


def flops_are_those_counted(trial: Trial) -> str:
    """Check that the FLOPs of a run are those that the counter sees it do."""
    target = trial.target
    if target.prices.currency != "flops":
        raise ContractSkipped(f"costs are in {symbol(target.prices.currency)}")
    if target.elsewhere:
        raise ContractSkipped("it runs elsewhere")
    if target.counted_apart:
        raise ContractSkipped(target.counted_apart)
    ratios = []
    for number in range(min(COUNTED, len(trial.inputs))):
        one = trial.one(number)
        try:
            with counting() as counter:
                work = target.run(one).work
        except MeterError as error:
            raise ContractBroken(f"the run cannot be counted: {error}", "give units their FLOPs by hand") from error
        stated = float(target.prices.cost(work).item())
        ratios.append(stated / counter.flops if counter.flops else float(stated > 0) * float("inf"))
        if abs(ratios[-1] - 1) <= NEAR:
            continue
        seen = f"sample {number}: work x FLOPs is {stated:,.0f}, the counter sees {counter.flops:,}"
        if stated < counter.flops:
            raise ContractBroken(
                seen, "count what lies outside all units in one that always runs, and really skip what is skipped"
            )
        raise ContractBroken(seen, "count a unit where it ran; FLOPs are 2 for each multiply-add, nothing else")
    return f"within {max(abs(each - 1) for each in ratios):.1%} on {len(ratios)} inputs"


def devices_change_nothing(trial: Trial) -> str:
    """Check that the target can be moved, and does the same there."""
    target, before = trial.target, trial.target.device
    if target.elsewhere:
        raise ContractSkipped("it runs elsewhere")
    moved = target.to(before)
    if not isinstance(moved, Target):
        raise ContractBroken(f"to() returns {type(moved).__name__}", "return the target: return self")
    if not torch.cuda.is_available() or before.type != "cpu":
        raise ContractSkipped(f"there is one device here, {before}")
    there = moved.to(torch.device("cuda"))
    try:
        if there.device.type != "cuda":
            raise ContractBroken(f"on cuda its device is {there.device}", "set self.device in to()")
        inputs = trial.inputs.to(there.device) if isinstance(trial.inputs, torch.Tensor) else trial.inputs
        counts = there.run(inputs).work.counts.cpu()
    finally:
        there.to(before)
    wanted = trial.outcome.work.counts.cpu()
    same = float((counts == wanted).all(1).double().mean())
    if same < 0.5:
        raise ContractBroken(
            f"{same:.0%} of inputs do the same work on cuda", "move every tensor that decides, thresholds among them"
        )
    return f"{same:.0%} of inputs do the same work on cuda; the others are decided by rounding"


def copies_are_the_same(trial: Trial) -> str:
    """Check that a worker gets the same target: loaded again by its name, or pickled."""
    target = trial.target
    if target.elsewhere:
        raise ContractSkipped("it runs elsewhere")
    wanted = trial.outcome.work.counts.cpu()
    if trial.again is not None:
        other = trial.again()
        if other.fingerprint() != target.fingerprint():
            raise ContractBroken(
                "loaded a second time it has another fingerprint()",
                "load trained weights, or train with a fixed seed: workers load it by its name",
            )
        if not other.run(trial.inputs).work.counts.cpu().equal(wanted):
            raise ContractBroken("loaded a second time it does other work", "let nothing but files and seeds decide")
    try:
        held = pickle.loads(pickle.dumps(target))  # noqa: S301 - what was written just before
    except Exception as error:  # whatever a part of it says about being pickled
        if trial.again is not None:
            return f"loaded again it is the same; it cannot be pickled ({type(error).__name__}), which nothing needs"
        raise ContractBroken(
            f"it cannot be pickled: {type(error).__name__}: {error}", "replace lambdas by functions of a module"
        ) from error
    if not held.run(trial.inputs).work.counts.cpu().equal(wanted):
        raise ContractBroken("pickled and read back it does other work", "keep all that decides in attributes")
    return "loaded again and pickled it does the same work" if trial.again is not None else "pickled it is the same"


def family_has_what_it_asks(trial: Trial) -> str:
    """Check what the family declares: capabilities, blank outputs, ladders of caps."""
    target, family = trial.target, trial.target.family
    try:
        family.check(target)
    except UsageError as error:
        raise ContractBroken(str(error), "offer what the family needs") from error
    said = [family.id]
    try:
        blank = family.blank(target, 2)
        if len(blank) != 2:
            raise ContractBroken(f"blank(target, 2) returns {len(blank)} outputs", "return as many as asked for")
    except UsageError as error:
        said.append(f"without blank(), so that detectors do not apply: {error}")
    if target.offers("rungs", "at_rung"):
        said.append(_ladder(trial))
    return ", ".join(said)


def _ladder(trial: Trial) -> str:
    capped: object = copy.copy(trial.target)
    count = int(getattr(capped, "rungs")())  # noqa: B009 - a capability
    last = trial.target.max_work(trial.inputs).counts.cpu()
    for rung in sorted({0, 1, count - 1} & set(range(count))):
        lower: Target = getattr(capped, "at_rung")(rung)  # noqa: B009
        bound = lower.max_work(trial.inputs).counts.cpu()
        found = Work(lower.run(trial.inputs).work.counts.cpu())
        if bound.shape != last.shape or (bound > last).any():
            raise ContractBroken(f"rung {rung} allows more than the one before", "lower caps from rung to rung")
        if (over := found.counts > bound).any():
            where = trial.where(over, found, Work(bound), ("run() counts", "max_work() allows"))
            raise ContractBroken(f"at rung {rung}: {where}", "let the caps of a rung hold in run()")
        last = bound
    return counted(count, "rung") + " of caps"
