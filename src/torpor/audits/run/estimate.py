"""What an audit is about to spend, as far as its attacks say it before they run; and how many threads it gains from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

from torpor.attacks.base import Attack
from torpor.audits.plan import Plan
from torpor.audits.run.limits import BACKWARD, Limits
from torpor.core.errors import TorporError, UsageError
from torpor.core.units import symbol
from torpor.data.sets import DataSet
from torpor.meters.threads import Threads, gainful_threads, measured, using
from torpor.targets.base import Target

SEARCHING = ("control-best-noise", "control-best-of-k")
"""Controls that spend as many passes as the attacks beside them."""
COUNTED_S = 1.0
"""Seconds in which the samples are counted; if there are more, the estimate is per sample."""
SHORT_S, SEVERAL = 0.25, 16
"""A target that runs one sample in less than ``SHORT_S`` is timed on several."""

MOST_SAMPLES, LONG_S = 128, 1.0
"""As many samples run at once as take about ``SHORT_S``; one that takes longer than ``LONG_S`` runs only once."""


@dataclass(frozen=True)
class Estimate:
    """What attacks are about to spend on one sample.

    Attributes:
        rows: of the summary.
        samples: to be attacked; None if there are more than could be counted in a second.
        forwards: forward passes per sample.
        cost: of all passes per sample, at the static bound.
        seconds: per sample.
        silent: names of attacks that do not declare how many passes they take.
        currency: of the cost.
        one: seconds that one forward pass takes.
        upper: whether an attack may end before it has taken all the passes that it declares.
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

    def __str__(self) -> str:
        """Return the estimate in a sentence.

        >>> print(Estimate(5, 20, 300, 4e6, 0.5, ("pgd",)))
        20 samples in 5 rows, up to 6,000 forward passes and 80 MFLOPs, in the order of 10 s; pgd may take any number of
        passes
        >>> print(Estimate(5, 20, 300, 4e6, 0.5, (), upper=True))
        20 samples in 5 rows, up to 6,000 forward passes and 80 MFLOPs, at most about 10 s
        """
        count = 1 if self.samples is None else self.samples
        each = ", for each sample" if self.samples is None else ""
        what = "Many samples" if self.samples is None else f"{count} sample{'s' * (count != 1)}"
        found = f"{what} in {self.rows} rows, up to {self.forwards * count:,} forward passes and "
        about = "at most about" if self.upper else "in the order of"
        found += f"{_scaled(self.cost * count)}{symbol(self.currency)}, {about} {_clock(self.seconds * count)}{each}"
        if not self.silent:
            return found
        found = found if self.forwards else f"{what} in {self.rows} rows"
        took = f" of {_clock(self.one)} each" if self.one else ""
        return f"{found}; {', '.join(self.silent)} may take any number of passes{took}"


def estimate(plan: Plan, target: Target, data: DataSet) -> Estimate:
    """Return what ``plan`` is about to spend; the target is run once or twice, to be timed.

    Fitting is not in it, nor is what is timed at the end.

    Raises:
        DataError: if the data cannot be read.
    """
    attacks = [attack for budget in plan.budgets for attack in plan.attacks_at(budget)]
    said = [passes(attack) for attack in attacks]
    times = 1 + len(plan.defenses)
    forwards = _luck(plan) + times * sum(forward for forward, _ in said)
    backwards = times * sum(backward for _, backward in said)
    one = target.read(data.load("test", 1).inputs)
    seconds = _timed(target, data)
    price = float(target.prices.cost(target.max_work(one)).sum())
    every = forwards + BACKWARD * backwards
    silent = tuple(attack.name for attack, (forward, _) in zip(attacks, said, strict=True) if not forward)
    return Estimate(
        len(plan.keys),
        counted(data, plan.limit),
        forwards,
        every * price,
        every * seconds,
        tuple(dict.fromkeys(silent)),
        target.prices.currency,
        seconds,
        any(map(may_end_early, attacks)),
    )


def plan_of(found: Estimate, limits: Limits) -> str:
    """Return what is about to be spent, and what it may be at most, in a sentence.

    >>> print(plan_of(Estimate(5, 20, 300, 4e6, 0.5, ()), Limits(seconds=60)))
    About to attack 20 samples in 5 rows, up to 6,000 forward passes and 80 MFLOPs, in the order of 10 s; it ends after
    --max-seconds 60
    """
    said = [f"--max-{name} {value:g}" for name, value in asdict(limits).items() if value is not None]
    return f"About to attack {found}" + (f"; it ends after {' or '.join(said)}" if said else "")


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


def may_end_early(attack: Attack) -> bool:
    """Return whether what :func:`passes` returns is an upper number: the queries of a search, its own or a member's.

    >>> from torpor.attacks.registry import load_attack
    >>> may_end_early(load_attack("pgd")), may_end_early(load_attack("square")), may_end_early(load_attack("standard"))
    (False, True, True)
    """
    members: tuple[Attack, ...] = getattr(attack, "members", ())
    return isinstance(getattr(attack, "queries", None), int) or any(map(may_end_early, members))


def _luck(plan: Plan) -> int:
    """Return the forward passes of controls that spend as many as the attacks beside them."""
    random = [key.budget for key in plan.keys if key.attack in SEARCHING and key.budget]
    return sum(max(passes(attack)[0] for attack in plan.attacks_at(budget)) for budget in random)


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


def _timed(target: Target, data: DataSet) -> float:
    """Return the seconds that one sample takes."""

    def run(count: int) -> Callable[[], object]:
        inputs = target.read(data.load("test", count).inputs)
        return lambda: target.run(inputs)

    seconds, _ = measured(run(1))
    if seconds < SHORT_S:
        call, count = run(SEVERAL), len(data.load("test", SEVERAL))
        call()
        seconds = measured(call)[0] / count
    return seconds


def _scaled(value: float) -> str:
    for scale, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} "


def _clock(seconds: float) -> str:
    for scale, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.2g} s"


@contextmanager
def chosen_threads(target: Target, data: Callable[[], DataSet], asked: int | None = None) -> Iterator[Threads]:
    """Let torch use, inside the block, as many threads as were asked for, or as ``target`` gains from on its inputs.

    A target on another device than the CPU, or one that cannot be run yet, leaves torch's own number.

    Args:
        target: what is going to run.
        data: returns its inputs; called only to measure.
        asked: this many; None to measure.

    Raises:
        UsageError: if fewer than one is asked for.

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
        if asked < 1:
            raise UsageError(f"expected 1 thread or more, got {asked}")
        return Threads(asked, max(asked, most), "as asked for")
    if most == 1:
        return Threads(1, 1, "there is one")
    if target.device.type != "cpu":
        return Threads(most, most, f"the target runs on {target.device.type}")
    try:
        return Threads(gainful_threads(_small_run(target, data()), most), most, "measured on the target")
    except TorporError:  # the audit itself raises it again
        return Threads(most, most, "the target could not be measured")


def _small_run(target: Target, data: DataSet) -> Callable[[], object]:
    """Return a call that takes some tenths of a second at most, or the shortest there is."""
    one = target.read(data.load("test", 1).inputs)
    seconds, _ = measured(lambda: target.run(one))
    if seconds < LONG_S:  # the first run prepares what the next ones share
        seconds, _ = measured(lambda: target.run(one))
    count = min(MOST_SAMPLES, int(SHORT_S / max(seconds, 1e-6)))
    if count >= 1:
        several = target.read(data.load("test", count).inputs)
        return lambda: target.run(several)
    _, probe = next(iter(target.probes(one)))
    return probe
