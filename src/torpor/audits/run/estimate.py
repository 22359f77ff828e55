"""What an audit is about to spend, as far as its attacks say it; the threads that it gains from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

from torpor.attacks.base import Attack
from torpor.attacks.registry import free_controls
from torpor.audits.conditions import NON_ADAPTIVE, RowKey
from torpor.audits.plan import Plan
from torpor.audits.run.limits import BACKWARD, Limits
from torpor.audits.run.timing import small_run, speed_of
from torpor.core.errors import TorporError
from torpor.core.units import symbol
from torpor.data.sets import DataSet
from torpor.meters.threads import Threads, check_threads, gainful_threads, using
from torpor.targets.base import Target

SEARCHING = ("control-best-noise", "control-best-of-k")
"""Controls that spend as many passes as the attacks beside them."""
COUNTED_S = 1.0
"""Seconds in which the samples are counted; if there are more, the estimate is per sample."""
CLEARLY = 0.8
"""What is likely is said where it is at most this share of what is possible."""


@dataclass(frozen=True)
class Estimate:
    """What attacks are about to spend on one sample.

    Attributes:
        rows: of the summary.
        samples: to be attacked; None if there are more than could be counted in a second.
        forwards: forward passes per sample.
        cost: of all passes per sample, at the static bound.
        seconds: per sample, at the speed of a batch.
        silent: names of attacks that do not declare how many passes they take.
        currency: of the cost.
        one: seconds that one forward pass takes.
        upper: whether an attack may end before it has taken all the passes that it declares.
        likely: seconds per sample if attacks take as many passes as they usually do.
        shares: whether each sample has its share of the seconds that are allowed.
    """

    rows: int
    samples: int | None
    forwards: int
    cost: float
    seconds: float
    silent: tuple[str, ...]
    currency: str = "flops"
    one: float = 0.0
    upper: bool = False
    likely: float | None = None
    shares: bool = False

    def __str__(self) -> str:
        """Return the estimate in a sentence.

        >>> print(Estimate(5, 20, 300, 4e6, 0.5, ("pgd",)))
        20 samples in 5 rows, up to 6,000 forward passes and 80 MFLOPs, in the order of 10 s; pgd may take any number of
        passes
        >>> print(Estimate(5, 20, 300, 4e6, 0.5, (), upper=True))
        20 samples in 5 rows, up to 6,000 forward passes and 80 MFLOPs, at most about 10 s
        >>> print(Estimate(5, 20, 300, 4e6, 0.5, (), upper=True, likely=0.1))
        20 samples in 5 rows, up to 6,000 forward passes and 80 MFLOPs, at most about 10 s, more likely about 2 s
        """
        count = 1 if self.samples is None else self.samples
        each = ", for each sample" if self.samples is None else ""
        what = "Many samples" if self.samples is None else f"{count} sample{'s' * (count != 1)}"
        found = f"{what} in {self.rows} rows, up to {self.forwards * count:,} forward passes and "
        about = "at most about" if self.upper else "in the order of"
        found += f"{_scaled(self.cost * count)}{symbol(self.currency)}, {about} {_clock(self.seconds * count)}"
        if self.upper and self.likely is not None and self.likely <= CLEARLY * self.seconds:
            found += f", more likely about {_clock(self.likely * count)}"
        found += each
        if not self.silent:
            return found
        found = found if self.forwards else f"{what} in {self.rows} rows"
        took = f" of {_clock(self.one)} each" if self.one else ""
        return f"{found}; {', '.join(self.silent)} may take any number of passes{took}"


def estimate(plan: Plan, target: Target, data: DataSet) -> Estimate:
    """Return what ``plan`` is about to spend; the target is run a few times, to be timed.

    Fitting is not in it, nor is what is timed at the end.

    Raises:
        DataError: if the data cannot be read.
    """
    attacks = [attack for budget in plan.budgets for attack in plan.attacks_at(budget)]
    said = [passes(attack) for attack in attacks]
    forwards, backwards = _total(plan, passes)
    one = target.read(data.load("test", 1).inputs)
    speed = speed_of(target, data, plan, both=backwards > 0)
    price = float(target.prices.cost(target.max_work(one)).sum())
    every = forwards + BACKWARD * backwards
    silent = tuple(attack.name for attack, (forward, _) in zip(attacks, said, strict=True) if not forward)
    return Estimate(
        len(plan.keys),
        counted(data, plan.limit),
        forwards,
        every * price,
        speed.seconds(forwards, backwards),
        tuple(dict.fromkeys(silent)),
        target.prices.currency,
        speed.forward,
        any(map(may_end_early, attacks)),
        speed.seconds(*_total(plan, usual_passes)),
        plan.batch_size == 1 and target.offers("until"),
    )


def plan_of(found: Estimate, limits: Limits, at_once: int = 1) -> str:
    """Return what is about to be spent, and what it may be at most, in a sentence.

    Args:
        found: what attacks are about to spend.
        limits: what they may spend.
        at_once: samples that are attacked at the same time, if each has its share of the seconds.

    >>> print(plan_of(Estimate(5, 20, 300, 4e6, 0.5, ()), Limits(seconds=60)))
    About to attack 20 samples in 5 rows, up to 6,000 forward passes and 80 MFLOPs, in the order of 10 s; it ends after
    --max-seconds 60
    >>> print(plan_of(Estimate(5, 20, 0, 0.0, 0.0, ("pgd",), shares=True), Limits(seconds=60)))
    About to attack 20 samples in 5 rows; pgd may take any number of passes; it ends after --max-seconds 60, 3 s for
    each sample
    >>> print(plan_of(Estimate(5, 20, 0, 0.0, 0.0, ("pgd",), shares=True), Limits(seconds=60), at_once=2))
    About to attack 20 samples in 5 rows; pgd may take any number of passes; it ends after --max-seconds 60, 6 s for
    each sample, 2 at once
    """
    said = [f"--max-{name} {value:g}" for name, value in asdict(limits).items() if value is not None]
    ends = f"; it ends after {' or '.join(said)}" if said else ""
    if limits.seconds is not None and found.shares and found.samples:
        several = min(at_once, found.samples)
        rounds = -(-found.samples // several)
        ends += f", {_clock(limits.seconds / rounds)} for each sample" + f", {several} at once" * (several > 1)
    return f"About to attack {found}{ends}"


def passes(attack: Attack) -> tuple[int, int]:
    """Return how many forward and backward passes per sample an attack declares; 0 if it declares none.

    >>> from torpor.attacks.registry import load_attack
    >>> passes(load_attack("pgd", steps=10)), passes(load_attack("square"))
    ((11, 10), (300, 0))
    """
    queries = getattr(attack, "queries", None)
    if isinstance(queries, int):
        return queries, 0
    members: tuple[Attack, ...] = getattr(attack, "members", ())
    if members:
        found = [passes(member) for member in members]
        return sum(forward for forward, _ in found), sum(backward for _, backward in found)
    steps = getattr(attack, "iterations", None)
    return (steps + 1, steps) if isinstance(steps, int) else (0, 0)


def usual_passes(attack: Attack) -> tuple[int, int]:
    """Return how many forward and backward passes an attack usually takes per sample, as far as it says so.

    >>> from torpor.attacks.registry import load_attack
    >>> passes(load_attack("standard")), usual_passes(load_attack("standard"))
    ((10705, 700), (1005, 700))
    """
    if members := getattr(attack, "members", ()):
        found = [usual_passes(member) for member in members]
        return sum(forward for forward, _ in found), sum(backward for _, backward in found)
    usual = getattr(attack, "usual_queries", None)
    return (usual, 0) if isinstance(usual, int) else passes(attack)


def may_end_early(attack: Attack) -> bool:
    """Return whether what :func:`passes` returns is an upper number: the queries of a search, its own or a member's.

    >>> from torpor.attacks.registry import load_attack
    >>> may_end_early(load_attack("pgd")), may_end_early(load_attack("square")), may_end_early(load_attack("standard"))
    (False, True, True)
    """
    members: tuple[Attack, ...] = getattr(attack, "members", ())
    return isinstance(getattr(attack, "queries", None), int) or any(map(may_end_early, members))


def row_weights(plan: Plan) -> list[int]:
    """Return what each row after the first is expected to take of an audit's time, in forward passes, one at least.

    An attack that declares no passes counts as much as the longest that does. What is sent through a defense as it was
    crafted without it is run once.
    """
    took = {RowKey(one.name, budget): usual_passes(one) for budget in plan.budgets for one in plan.attacks_at(budget)}
    weights = {key: forward + BACKWARD * backward for key, (forward, backward) in took.items()}
    most = max(weights.values(), default=1)
    weights |= {RowKey(each.name, one): passes(each)[0] or 1 for one in plan.budgets for each in free_controls(one)}
    found = []
    for key in plan.keys[1:]:
        weight = weights.get(RowKey(key.attack, key.budget), 1)
        if key.condition.attacker == NON_ADAPTIVE or not key.budget:
            weight = 1
        elif key.attack in SEARCHING:
            weight = max(forward for other, (forward, _) in took.items() if other.budget == key.budget)
        found.append(weight or most)
    return found


def _total(plan: Plan, passes_of: Callable[[Attack], tuple[int, int]]) -> tuple[int, int]:
    """Return the forward and backward passes of all attacks, and of controls, per sample."""
    said = [passes_of(attack) for budget in plan.budgets for attack in plan.attacks_at(budget)]
    random = [key.budget for key in plan.keys if key.attack in SEARCHING and key.budget]
    chosen = sum(max(passes_of(attack)[0] for attack in plan.attacks_at(budget)) for budget in random)
    forwards, backwards = (sum(each) for each in zip(*said, strict=True)) if said else (0, 0)
    times = 1 + len(plan.defenses)
    free = sum(passes_of(control)[0] for budget in plan.budgets for control in free_controls(budget))
    return chosen + free + times * forwards, times * backwards


def counted(data: DataSet, limit: int | None) -> int | None:
    """Count the samples up to ``limit``; where that takes too long it is the limit itself, or None."""
    begin, count = time.monotonic(), 0
    samples: Iterator[object] = iter(data.samples("test"))
    while limit is None or count < limit:
        if next(samples, None) is None:
            break
        count += 1
        if time.monotonic() - begin > COUNTED_S:
            return limit
    return count


def _scaled(value: float) -> str:
    for scale, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} "


def _clock(seconds: float) -> str:
    for scale, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.2g} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


@contextmanager
def chosen_threads(target: Target, data: Callable[[], DataSet], asked: int | None = None) -> Iterator[Threads]:
    """Let torch use, inside the block, as many threads as were asked for, or as ``target`` gains from on its inputs.

    A target on another device than the CPU, or one that cannot be run yet, leaves torch's own number.

    Args:
        target: what is going to run.
        data: returns its inputs; called only to measure.
        asked: this many; None to measure.

    Raises:
        UsageError: if fewer than one is asked for, or more than torch can have.

    >>> from torpor.targets.early_exit.toys import needle
    >>> toy = needle()
    >>> with chosen_threads(toy, lambda: toy.data(None), asked=1) as threads:
    ...     threads.used, threads.why
    (1, 'as asked for')
    """
    with using(_choice(target, data, asked)) as threads:
        yield threads


def _choice(target: Target, data: Callable[[], DataSet], asked: int | None) -> Threads:
    most = torch.get_num_threads()
    if asked is not None:
        return Threads(check_threads(asked), max(asked, most), "as asked for", asked=True)
    if most == 1:
        return Threads(1, 1, "there is one")
    if target.device.type != "cpu":
        return Threads(most, most, f"the target runs on {target.device.type}")
    if target.elsewhere:
        return Threads(most, most, "the target runs elsewhere")
    try:
        return Threads(gainful_threads(small_run(target, data()), most), most, "measured on the target")
    except TorporError:  # the audit itself raises it again
        return Threads(most, most, "the target could not be measured")
