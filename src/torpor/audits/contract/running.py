"""Checks of what a target returns, and of whether a sample's work is its own."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from torpor.audits.contract.line import ContractBroken, ContractSkipped
from torpor.audits.contract.trial import Trial
from torpor.core.batches import Samples, take
from torpor.core.errors import UsageError
from torpor.core.work import Outcome, Work
from torpor.targets.base import Target


def units_are_told(trial: Trial) -> str:
    """Check that units have names of their own and prices, and that the costliest input costs something."""
    target = trial.target
    if not target.units:
        raise ContractBroken("there are no units", "name the pieces of computation that are counted: self.units")
    names = Counter(unit.name for unit in target.units)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ContractBroken(f"two units are called {twice[0]!r}", "give each a name of its own")
    prices = target.prices
    if len(prices.per_unit) != len(target.units):
        raise ContractBroken(
            f"{len(prices.per_unit)} prices for {len(target.units)} units", "return a price for each unit from price()"
        )
    if not any(prices.per_unit):
        raise ContractBroken("every unit costs 0", "give units their FLOPs, or write price()")
    return f"{len(target.units)} in {prices.currency}: {', '.join(list(names)[:6])}{', ...' * (len(names) > 6)}"


def run_returns_work(trial: Trial) -> str:
    """Check the shapes of what ``run`` returns."""
    outcome, target, count = trial.outcome, trial.target, len(trial.inputs)
    if not isinstance(outcome, Outcome):
        raise ContractBroken(f"run() returns {type(outcome).__name__}", "return Outcome(outputs, Work(counts))")
    rows, columns = outcome.work.counts.shape
    if (rows, columns) != (count, len(target.units)):
        raise ContractBroken(
            f"work of shape [{rows}, {columns}] for {count} inputs and {len(target.units)} units",
            "count one row for each input and one column for each unit",
        )
    if len(outcome.outputs) != count:
        raise ContractBroken(f"{len(outcome.outputs)} outputs for {count} inputs", "return one output for each input")
    if (outcome.work.counts < 0).any():
        raise ContractBroken("some counts are negative", "count runs from 0")
    cost = target.prices.cost(outcome.work)
    low, high = float(cost.min()), float(cost.max())
    spread = "the same for all of them" if low == high else f"up to {high / max(low, 1e-9):.3g} times the least"
    return f"{count} inputs, costs {spread}"


def run_repeats(trial: Trial) -> str:
    """Check that the same inputs do the same work again."""
    _same_work(
        trial, trial.target.run(trial.inputs), "the first run", "a second one",
        "let nothing but the input decide: evaluation mode, draws seeded by the sample's content",
    )  # fmt: skip
    return "a second run does the same work"


def run_equals_batches_of_one(trial: Trial) -> str:
    """Check that inputs do the same work, and give outputs that agree, on their own."""
    alone = [trial.target.run(one) for one in trial.each()]
    work = Work.cat([each.work for each in alone])
    advice = (
        "let rows be independent: batch normalization in evaluation mode, no statistics over the batch, no padding "
        "that is counted or seen"
    )
    _same_work(trial, Outcome((), work), "in a batch", "alone", advice)
    agrees = _agreeing(trial, alone)
    if not agrees.all():
        raise ContractBroken(f"sample {int((~agrees).nonzero()[0])} has another answer alone", advice)
    return f"{len(alone)} inputs, each alone"


def rows_are_independent(trial: Trial) -> str:
    """Check that neither the order of a batch nor its other rows change what a row does."""
    count = len(trial.inputs)
    if count < 2:
        raise ContractSkipped("there is one input")
    order = torch.arange(count).flip(0)
    there = trial.target.run(take(trial.inputs, order)).work.counts.cpu()
    back = Work(there[torch.argsort(order)])
    advice = "let nothing that a row does depend on the others, such as an index that counts within the batch"
    _same_work(trial, Outcome((), back), "in order", "in a batch turned round", advice)
    first = take(trial.inputs, torch.tensor([0, 0, count - 1]))
    rows = trial.target.run(first).work.counts.cpu()
    wanted = trial.outcome.work.counts.cpu()[[0, 0, count - 1]]
    if not rows.equal(wanted):
        raise ContractBroken("an input that is twice in a batch does other work", advice)
    return "the order of a batch and its other rows change nothing"


def run_is_bounded(trial: Trial) -> str:
    """Check the static bound, the cheapest path, and the costliest input."""
    target, work = trial.target, trial.outcome.work
    bound = Work(target.max_work(trial.inputs).counts.cpu())
    found = Work(work.counts.cpu())
    if bound.counts.shape != found.counts.shape:
        raise ContractBroken(
            f"max_work of shape {list(bound.counts.shape)} for work of {list(found.counts.shape)}",
            "bound each unit of each input",
        )
    if (over := found.counts > bound.counts).any():
        where = trial.where(over, found, bound, ("run() counts", "max_work() allows"))
        raise ContractBroken(where, "let max_work() follow from structure and caps, at their most")
    cost, most = target.prices.cost(found), target.prices.cost(bound)
    advice = "let static_work() be what no input at all exceeds, and least_work() the cheapest path"
    try:
        ceiling, floor = (float(target.prices.cost(each()).item()) for each in (target.static_work, target.least_work))
    except UsageError:  # DataError: it depends on the input
        return f"at most {cost.max() / most.max():.0%} of the static bound was used"
    if most.max() > ceiling * (1 + 1e-9):
        raise ContractBroken(f"max_work() of an input costs {most.max():,.4g}, static_work() {ceiling:,.4g}", advice)
    if cost.min() < floor * (1 - 1e-9):
        raise ContractBroken(f"an input costs {cost.min():,.4g}, least_work() {floor:,.4g}", advice)
    return f"the costliest input takes {cost.max() / ceiling:.0%} of the static bound"


def outputs_are_judged(trial: Trial) -> str:
    """Check ``utility`` and ``agreement`` on the target's own outputs."""
    target, outputs, count = trial.target, trial.outcome.outputs, len(trial.inputs)
    agrees = target.agreement(outputs, outputs)
    if agrees.dtype != torch.bool or agrees.shape != (count,):
        raise ContractBroken(f"agreement() returns {agrees.dtype} {list(agrees.shape)}", f"return bool [{count}]")
    if not agrees.all():
        raise ContractBroken("an output does not agree with itself", "compare answers, such as argmax(-1)")
    batch = trial.batch
    if batch is None or not len(batch.references):
        return "agreement with itself; there are no references"
    own = take(outputs, torch.arange(trial.clean))
    score = target.utility(own, batch.references)
    if score.dtype != torch.float64 or score.shape != (trial.clean,):
        raise ContractBroken(f"utility() returns {score.dtype} {list(score.shape)}", f"return float64 [{trial.clean}]")
    return f"mean {target.utility_name} {score.nanmean():.3g} on {trial.clean} samples"


def _same_work(trial: Trial, other: Outcome, here: str, there: str, advice: str) -> None:
    one, two = (Work(outcome.work.counts.cpu()) for outcome in (trial.outcome, other))
    if one.counts.shape != two.counts.shape:
        raise ContractBroken(f"work of shape {list(one.counts.shape)} and {list(two.counts.shape)}", advice)
    if (wrong := one.counts != two.counts).any():
        raise ContractBroken(trial.where(wrong, one, two, (here, there)), advice)


def _agreeing(trial: Trial, alone: list[Outcome]) -> Tensor:
    """Tell for each input whether its answer alone is that in the batch, bool ``[B]``."""
    target: Target = trial.target
    found = [target.agreement(each.outputs, _row(trial.outcome.outputs, number)) for number, each in enumerate(alone)]
    return torch.cat([each.reshape(1).cpu() for each in found])


def _row(outputs: Samples, number: int) -> Samples:
    return take(outputs, torch.tensor([number]))
