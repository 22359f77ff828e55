"""Audits of targets elsewhere: their limits, what each sample's searches may ask, and what is about to be sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torpor.attacks.registry import free_controls
from torpor.audits.plan import Plan
from torpor.audits.run.estimate import SEARCHING, counted, passes
from torpor.audits.run.limits import Limits
from torpor.audits.run.rows import FIRST
from torpor.audits.run.timing import CALLS, REPEATS
from torpor.core.units import symbol
from torpor.core.work import Work
from torpor.data.sets import DataSet

LEAST = 16
"""Requests that are worth a search: where there are fewer for each sample, some samples are left out."""
MANY = 10**6
"""Samples, where they were not counted."""


def limits_on(target: Any, limits: Limits) -> Limits:  # noqa: ANN401 - any target
    """Return the limits of an audit: a target elsewhere holds to them itself, and may have some if none are given.

    Raises:
        UsageError: if it must have some, and has not.
    """
    if not target.offers("spend"):
        return limits
    queries, cost = target.spend(limits.queries, limits.cost)
    return Limits(queries, limits.seconds, cost)


@dataclass(frozen=True)
class Allotment:
    """What each sample's searches may ask, so that the whole audit keeps to its limits.

    Attributes:
        queries: candidates; None for no limit.
        cost: of all of them, with what is asked to judge what was found; None for no limit.
        fixed: requests beside the searches.
    """

    queries: int | None = None
    cost: float | None = None
    fixed: int = 0

    @classmethod
    def of(cls, plan: Plan, target: Any, data: DataSet, limits: Limits) -> Allotment:  # noqa: ANN401 - any target
        """Return the allotment of each sample, where samples are attacked one by one on a target elsewhere."""
        if not (target.elsewhere and plan.batch_size == 1 and target.offers("until")):
            return cls()
        fixed = judged(plan, target)
        samples = counted(data, plan.limit) or MANY
        if limits.queries is not None:
            samples = min(samples, max(1, limits.queries // (fixed + LEAST)))
        queries = None if limits.queries is None else max(0, limits.queries // samples - fixed)
        return cls(queries, None if limits.cost is None else limits.cost / samples, fixed)

    def within(self, most: float) -> int | None:
        """Return how many candidates may be asked whose requests cost ``most`` each at most; None for no limit.

        >>> Allotment(100, 1.0, 5).within(0.1), Allotment(3, 1.0, 5).within(0.1), Allotment().within(1.0)
        (5, 3, None)
        """
        if self.cost is None or not most > 0:
            return self.queries
        affordable = max(0, int(self.cost / most * (1 + 1e-9)) - self.fixed)
        return affordable if self.queries is None else min(self.queries, affordable)


def judged(plan: Plan, target: Any) -> int:  # noqa: ANN401 - any target elsewhere
    """Return how many requests of one sample no search sends: its clean input, and what each row judges."""
    asked = int(target.options.asked) if target.offers("options") else 1
    free = sum(key.condition.defense == "none" for key in plan.keys)
    return asked * (free + 3 * (len(plan.keys) - free))


def plan_of_requests(plan: Plan, target: Any, data: DataSet, limits: Limits) -> str:  # noqa: ANN401 - elsewhere
    """Return what is about to be sent, and what it may cost at most, in a sentence; nothing is sent for it."""
    first = target.read(data.load("test", 1).inputs)
    samples = counted(data, plan.limit)
    searched, silent = _searched(plan)
    each = searched + judged(plan, target)
    work = target.max_work(first)
    count = each * (samples or 1)
    said = f"About to send up to {count:,} requests to {target.url}, {_costing(target, work, count)}: "
    said += f"{samples} sample{'s' * (samples != 1)}" if samples else "for each sample, of which there are many,"
    said += f" in {len(plan.keys)} rows"
    if silent:
        said += f"; {', '.join(silent)} may send any number"
    if plan.timed and not target.family.untimed(target):
        said += f"; about {CALLS * len(plan.keys):,} more to time them"
    said += _ends(limits)
    share = Allotment.of(plan, target, data, limits).within(float(target.prices.cost(work).sum()))
    return (
        said if share is None or share >= searched > 0 else f"{said}; the searches on a sample share {share:,} requests"
    )


def _searched(plan: Plan) -> tuple[int, tuple[str, ...]]:
    """Return the requests that searches on one sample declare, and the names of those that declare none."""
    attacks = [attack for budget in plan.budgets for attack in plan.attacks_at(budget)]
    said = {attack.name: passes(attack)[0] for attack in attacks}
    times = 1 + len(plan.defenses)
    random = [key.budget for key in plan.keys if key.attack in SEARCHING and key.budget]
    matched = sum(max(passes(attack)[0] for attack in plan.attacks_at(budget)) for budget in random)
    matched += sum(passes(control)[0] for budget in plan.budgets for control in free_controls(budget))
    return times * sum(passes(attack)[0] for attack in attacks) + matched, tuple(
        name for name, count in said.items() if not count
    )


def _costing(target: Any, work: Work, count: int) -> str:  # noqa: ANN401 - elsewhere
    """Say what so many requests cost at most that are like the first one."""
    read, written = target.tokens_of(work)
    cost, unit = float(target.prices.cost(work).sum()) * count, symbol(target.prices.currency)
    return (
        f"{count * read:,} tokens to read and {count * written:,} to write, {cost:,.4g} {unit}, at most, if all are "
        "like the first input"
    )


def _ends(limits: Limits) -> str:
    said = [f"--max-{name} {value:g}" for name, value in asdict(limits).items() if value is not None]
    return f"; it ends after {' or '.join(said)}" if said else ""


def begin_measuring(
    target: Any,  # noqa: ANN401 - elsewhere
    data: DataSet,
    limit: int | None,
    most: tuple[int | None, float | None, str | None],
) -> str:
    """Limit what is sent to measure clean inputs, and return what is about to be sent, in a sentence.

    Args:
        target: whose inputs are asked.
        data: that hold them.
        limit: inputs at most.
        most: requests, seconds and cost at most, the cost as the user typed it.

    Raises:
        UsageError: if a limit is none, or one is missing that must be there.
    """
    queries, seconds, cost = most
    limits = limits_on(target, Limits.of(queries, seconds, cost, target.prices.currency))
    target.within(limits.seconds)
    samples = counted(data, limit)
    work = target.max_work(target.read(data.load("test", 1).inputs))
    count = target.options.asked * (samples or 1)
    if not target.family.untimed(target):
        count += 3 + REPEATS * min(FIRST, samples or FIRST)
    ends = _ends(limits)
    each = "" if samples else " for each sample"
    return f"About to send {count:,} requests{each} to {target.url}, {_costing(target, work, count)}{ends}"
