"""Checks of what white-box attacks follow: signals, the sign of margins, gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from torpor.audits.contract.line import ContractBroken, ContractSkipped
from torpor.audits.contract.trial import Trial
from torpor.core.budget import counted
from torpor.core.signals import GateSignals, Signals
from torpor.core.units import STEP
from torpor.core.work import Work

MOST_GATES = 64
"""Gates of which each is compared with what it saves."""


def _of(trial: Trial) -> Signals:
    if trial.target.family.signals is None:
        raise ContractSkipped("a black box: attacks ask it, and follow nothing")
    return trial.signals


def signals_say_the_work(trial: Trial) -> str:
    """Check that signals are of the family's type, and tell the work that a run does."""
    signals, kind = _of(trial), trial.target.family.signals
    if kind is not None and not isinstance(signals, kind):
        raise ContractBroken(
            f"signals() returns {type(signals).__name__}", f"return {kind.__name__}, as the family declares"
        )
    if signals.rows is not None:
        return f"{len(signals.rows)} rows of {len(trial.inputs)} inputs"
    ran, told = (Work(each.counts.cpu()) for each in (trial.outcome.work, signals.work))
    if ran.counts.shape != told.counts.shape:
        raise ContractBroken(
            f"signals tell work of shape {list(told.counts.shape)}, run() {list(ran.counts.shape)}",
            "pass the same counts to both",
        )
    if (wrong := ran.counts != told.counts).any():
        where = trial.where(wrong, ran, told, ("run() counts", "signals tell"))
        raise ContractBroken(where, "follow the very path that run() takes, with the same thresholds")
    mask, names = getattr(signals, "mask", None), [unit.name for unit in trial.target.units]
    if isinstance(mask, Tensor) and STEP in names:
        steps = ran.counts[:, names.index(STEP)]
        if mask.ndim == 2 and len(mask) == len(steps) and not mask.sum(1).cpu().equal(steps):
            raise ContractBroken(
                f"the mask of signals holds {mask.sum(1).tolist()} steps, run() counts {steps.tolist()}",
                "mask the steps that ran, the end token's among them",
            )
    return f"the work of run(), on {len(told)} inputs"


def margins_have_their_sign(trial: Trial) -> str:
    """Check that a gate with a margin of 0 or more saves computation, and one below does not."""
    signals = _of(trial)
    if not isinstance(signals, GateSignals):
        raise ContractSkipped("no gates")
    margins = signals.margins.detach().cpu()
    if margins.shape[1] == 0:
        if signals.expected is None:
            raise ContractBroken("neither margins nor an expected cost", "return margins [B, G], or expected [B]")
        raise ContractSkipped("no gates: attacks follow the expected cost")
    if signals.rows is not None:
        raise ContractSkipped("rows are not samples")
    cost = trial.target.prices.cost(Work(signals.work.counts.cpu()))
    if signals.logits is not None:
        if not trial.target.offers("exits"):
            raise ContractSkipped("it does not say at which exit a sample left; offer exits(work)")
        _exits_follow(trial.target, margins, signals.work)
        return f"a sample leaves at its first margin >= 0, {counted(margins.shape[1] + 1, 'exit')}"
    return _gates_follow(margins, cost)


def _gates_follow(margins: Tensor, cost: Tensor) -> str:
    """Compare inputs that differ in one gate alone; where there are none, how many are open with what that costs."""
    advice = "a gate saves its unit where its margin is 0 or more; turn the sign of margins round"
    open_, decided = (margins < 0).to(torch.float64), 0
    for gate in range(min(MOST_GATES, margins.shape[1])):
        for runs, saves in _pairs(open_, gate):
            decided += 1
            if cost[saves] > cost[runs]:
                raise ContractBroken(
                    f"gate {gate}: the input whose margin saves costs {cost[saves]:,.4g}, the one whose does not "
                    f"{cost[runs]:,.4g}, and all other gates agree",
                    advice,
                )
    many = open_.sum(1)
    if not decided and len(cost) > 2 and many.std() > 0 and cost.std() > 0:
        together = torch.corrcoef(torch.stack([many, cost]))[0, 1]
        if together < 0:
            raise ContractBroken(f"inputs with more open gates cost less (correlation {together:.2f})", advice)
        return f"{counted(margins.shape[1], 'gate')}: inputs with more open ones cost more (correlation {together:.2f})"
    if not decided:
        raise ContractSkipped("no two inputs differ in one gate alone; pass other --inputs or a higher --limit")
    return f"{counted(margins.shape[1], 'gate')}, {counted(decided, 'pair')} of inputs that differ in one"


def _pairs(open_: Tensor, gate: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of inputs that differ in one gate alone: the one for which it is open first."""
    others = torch.cat([open_[:, :gate], open_[:, gate + 1 :]], 1)
    for one in range(len(open_)):
        if open_[one, gate]:
            twins = (others == others[one]).all(1) & (open_[:, gate] == 0)
            yield from ((one, two) for two in twins.nonzero().flatten().tolist())


def _exits_follow(target: Any, margins: Tensor, work: Work) -> None:  # noqa: ANN401 - what offers exits()
    """Check that each sample runs up to its first exit whose margin is 0 or more."""
    passed = torch.cat([margins >= 0, torch.ones(len(margins), 1, dtype=torch.bool)], 1)
    depth, ran = passed.to(torch.int64).argmax(1), target.exits(Work(work.counts.cpu()))
    if (wrong := ran != depth).any():
        sample = int(wrong.nonzero()[0])
        raise ContractBroken(
            f"sample {sample}: margins {[round(value, 4) for value in margins[sample].tolist()]} leave at exit "
            f"{int(depth[sample])}, yet it runs up to exit {int(ran[sample])}",
            "a margin of 0 or more leaves; turn the sign round, or compare with the threshold of run()",
        )


def signals_have_gradients(trial: Trial) -> str:
    """Check that attacks can follow signals back to the input."""
    if trial.target.family.signals is None:
        raise ContractSkipped("a black box")
    inputs = trial.one(0)
    if not isinstance(inputs, Tensor):
        signals = trial.target.signals(inputs)
        leaf = getattr(signals, "embeddings", None)
        if not isinstance(leaf, Tensor):
            raise ContractSkipped("texts without embeddings: attacks that need them do not apply")
        return "texts: attacks follow the embeddings"
    with torch.enable_grad():
        given = trial.inputs[: max(1, trial.clean)].clone().requires_grad_()
        signals = trial.target.signals(given)
        names = [name for name, value in vars(signals).items() if isinstance(value, Tensor) and value.requires_grad]
        advice = "compute signals without torch.no_grad() and without detach()"
        if not names:
            raise ContractBroken("nothing in signals depends on the input", advice)
        total = torch.stack([getattr(signals, name).to(torch.float64).sum() for name in names]).sum()
        (gradient,) = torch.autograd.grad(total, given, allow_unused=True)
    if gradient is None or not gradient.any():
        raise ContractBroken(f"the gradient of {', '.join(names)} is 0 everywhere", advice)
    if not gradient.isfinite().all():
        raise ContractBroken(f"the gradient of {', '.join(names)} is not finite", "avoid log(0) and 0/0 in signals()")
    return f"of {', '.join(names)}"
