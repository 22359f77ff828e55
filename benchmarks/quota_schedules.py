"""(o) Do quotas of work hold? ``python -m benchmarks.quota_schedules [--count 10000]``: no timing, only counts.

Each schedule opens quotas, again and again, inside each other and closed in any order; runs targets in threads, tasks
and generators, some of which are cancelled or closed early; and has runs that fail when their work is done. What was
really run inside which blocks is counted by the target itself, which knows nothing of quotas.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.work import Outcome, Work
from torpor.defenses.chain import Chain
from torpor.defenses.guards.deadline import Deadline
from torpor.defenses.guards.step_budget import StepBudget
from torpor.defenses.transforms.bit_depth import BitDepth
from torpor.serving import Quota, QuotaError, metered
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.early_exit.toys import WindowTarget

COUNT = 10_000
DEPTH = 3
FAILURES = (RuntimeError, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)


@dataclass
class Truth:
    """What was really done.

    Attributes:
        flops: inside the blocks of each quota.
        steps: decoder steps, likewise.
        runs: that were begun.
        failed: of these.
        refused: runs that were not begun.
        broken: runs that did more than the static bound of the target that ran, or of the guarded one that was asked.
    """

    flops: Counter[int] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)
    runs: int = 0
    failed: int = 0
    refused: int = 0
    broken: int = 0
    lock: Any = field(default_factory=threading.Lock)


class Here(threading.local):
    """What the run of this thread is to know: blocks around it, who counts it, its static bound, and how it ends."""

    around: tuple[Quota, ...] = ()
    truth: Truth | None = None
    static: Work | None = None
    failure: type[BaseException] | None = None


HERE = Here()


def _count(target: Target, outcome: Outcome, inputs: Samples) -> None:
    truth = HERE.truth
    assert truth is not None
    flops = int(target.prices.cost(outcome.work).sum().item())
    steps = int(target.iterations(outcome.work).sum()) if isinstance(target, PeakTarget) else 0
    with truth.lock:
        truth.runs += 1
        counts, own = outcome.work.counts, target.max_work(inputs).counts
        truth.broken += int(
            (counts > own).any() or (HERE.static is not None and (own > HERE.static.counts[:, : own.shape[1]]).any())
        )
        for quota in set(HERE.around):
            truth.flops[id(quota)] += flops
            truth.steps[id(quota)] += steps
    if HERE.failure is not None:
        with truth.lock:
            truth.failed += 1
        raise HERE.failure


class CountedSteps(PeakTarget):
    """A decoder that counts what it does, and fails on demand."""

    def run(self, inputs: Samples) -> Outcome:
        """Run, count, and fail if that is wanted."""
        outcome = super().run(inputs)
        _count(self, outcome, inputs)
        return outcome


class CountedExits(WindowTarget):
    """A network with early exits that does the same."""

    def run(self, inputs: Tensor) -> Outcome:
        """Run, count, and fail if that is wanted."""
        outcome = super().run(inputs)
        _count(self, outcome, inputs)
        return outcome


STEPS, EXITS = CountedSteps(cap=12), CountedExits([0.5, 0.5, 0.5], [0.2, 0.1, 0.04])
TARGETS: tuple[Target, ...] = (
    STEPS,
    EXITS,
    StepBudget(7).defend(STEPS),
    Deadline(None, 3).defend(EXITS),
    BitDepth(4).defend(EXITS),
    Chain((BitDepth(4), StepBudget(7))).defend(STEPS),
)
METERED = tuple(metered(target) for target in TARGETS)
POOL = ThreadPoolExecutor(4)
"""Threads that are older than any quota."""


@dataclass
class Schedule:
    """One random program; ``around`` is what the blocks around a piece of it have opened.

    Args:
        rng: of everything.
        quotas: that it may open.
        truth: of what it does.
    """

    rng: random.Random
    quotas: list[Quota]
    truth: Truth

    def play(self, around: tuple[Quota, ...], depth: int) -> None:
        """Do a few random things, one after another."""
        for _ in range(self.rng.randint(1, 3)):
            acts: list[Callable[[tuple[Quota, ...], int], None]] = [self.run, self.run]
            if depth:
                acts += [self.block, self.block, self.crossed, self.generator, self.threads, self.tasks]
            with suppress(*FAILURES):
                self.rng.choice(acts)(around, depth - 1)

    def run(self, around: tuple[Quota, ...], depth: int) -> None:
        """Run a target, or a copy of it, that may be bound to one more quota and may fail."""
        number = self.rng.randrange(len(TARGETS))
        target, asked = METERED[number], around
        kind = self.rng.random()
        if kind < 0.1:
            target = copy.deepcopy(target)
        elif kind < 0.3:
            bound = self.rng.choice(self.quotas)
            target, asked = metered(target, bound), (*around, bound)
            target = copy.deepcopy(target) if kind < 0.2 else target
        mean = round(self.rng.random() * 255) / 255
        inputs = torch.full((self.rng.randint(1, 2), 1, 4, 4), mean)
        failure = self.rng.choice(FAILURES) if self.rng.random() < 0.15 else None
        before = HERE.around, HERE.truth, HERE.static, HERE.failure
        HERE.around, HERE.truth, HERE.static, HERE.failure = asked, self.truth, target.max_work(inputs), failure
        try:
            target.run(inputs)
        except QuotaError:
            with self.truth.lock:
                self.truth.refused += 1
        finally:
            HERE.around, HERE.truth, HERE.static, HERE.failure = before

    def block(self, around: tuple[Quota, ...], depth: int) -> None:
        """Open a quota, which may be open already."""
        quota = self.rng.choice(self.quotas)
        with quota:
            self.play((*around, quota), depth)

    def crossed(self, around: tuple[Quota, ...], depth: int) -> None:
        """Open two and close the first one first."""
        first, second = self.rng.choice(self.quotas), self.rng.choice(self.quotas)
        first.__enter__()
        second.__enter__()
        try:
            self.play((*around, first, second), depth)
        finally:
            first.__exit__(None, None, None)
            try:
                self.play((*around, second), depth)
            finally:
                second.__exit__(None, None, None)

    def generator(self, around: tuple[Quota, ...], depth: int) -> None:
        """Run inside a generator's block, which is closed before it ends."""
        quota = self.rng.choice(self.quotas)

        def some() -> Generator[None, None, None]:
            with quota:
                while True:
                    self.play((*around, quota), depth)
                    yield

        found = some()
        for _ in range(self.rng.randint(1, 2)):
            next(found)
        if self.rng.random() < 0.5:
            found.close()
        del found

    def threads(self, around: tuple[Quota, ...], depth: int) -> None:
        """Go on in threads, old ones or new ones."""
        parts = [self.part() for _ in range(self.rng.randint(2, 4))]
        if self.rng.random() < 0.5:
            for future in [POOL.submit(part.run, around, 0) for part in parts]:
                future.exception()
            return
        with ThreadPoolExecutor(len(parts)) as pool:
            for part in parts:
                pool.submit(part.play, around, depth)

    def tasks(self, around: tuple[Quota, ...], depth: int) -> None:
        """Go on in tasks, some made before a block and some in threads; some are cancelled. Only outside of others."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._gather(around))

    async def _gather(self, around: tuple[Quota, ...]) -> None:
        quota = self.rng.choice(self.quotas)
        opened = asyncio.Event()

        async def one(part: Schedule, threaded: bool) -> None:
            await opened.wait()
            inside = (*around, quota)
            await asyncio.sleep(0)
            if threaded:
                await asyncio.to_thread(part.run, inside, 0)
            else:
                part.play(inside, 0)

        works = [asyncio.create_task(one(self.part(), self.rng.random() < 0.5)) for _ in range(3)]
        with quota:
            try:
                opened.set()
                await asyncio.sleep(0)
                for work in works:
                    if self.rng.random() < 0.3:
                        work.cancel()
                await asyncio.gather(*works, return_exceptions=True)
            finally:  # threads outlive tasks that were cancelled, and what they begin behind the block is not inside
                await asyncio.get_running_loop().shutdown_default_executor()

    def part(self) -> Schedule:
        """Return a schedule with randomness of its own, for another thread."""
        return Schedule(random.Random(self.rng.random()), self.quotas, self.truth)


@dataclass(frozen=True)
class Found:
    """What a schedule came to.

    Attributes:
        truth: what was done.
        exceeded: quotas of which more was spent than there was.
        uncharged: quotas that were charged less than was done in their blocks.
        open: whether a quota was left open.
    """

    truth: Truth
    exceeded: int
    uncharged: int
    open: bool


def run_schedule(seed: int) -> Found:
    """Run one random schedule and compare its quotas with what was really done."""
    from torpor.serving import quota as quotas_of_work

    rng = random.Random(seed)
    quotas = [
        Quota(
            flops=rng.choice((None, 64, 256, 1000, 5000)),
            steps=rng.choice((None, 5, 30, 100)),
        )
        for _ in range(rng.randint(1, 3))
    ]
    truth = Truth()
    first = rng.choice(quotas)
    with first:
        Schedule(rng, quotas, truth).play((first,), DEPTH)
    exceeded = uncharged = 0
    for quota in quotas:
        flops, steps = truth.flops[id(quota)], truth.steps[id(quota)]
        exceeded += flops > (quota.flops or flops) or steps > (quota.steps or steps)
        uncharged += flops > quota.spent_flops or steps > quota.spent_steps
    return Found(truth, exceeded, uncharged, any(quota in quotas_of_work._open for quota in quotas))


def main() -> None:
    """Run many schedules and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    total: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.count):
        found = run_schedule(seed)
        total.update({name: getattr(found.truth, name) for name in ("runs", "failed", "refused", "broken")})
        total.update(exceeded=found.exceeded, uncharged=found.uncharged, open=found.open)
    runs = f"{total['runs']} runs, {total['failed']} of them failed, {total['refused']} refused"
    print(
        f"{options.count} schedules: {runs}; "
        f"quotas exceeded: {total['exceeded']}, charged too little: {total['uncharged']}, left open: {total['open']}; "
        f"runs above their static bound: {total['broken']}"
    )
    sys.exit(bool(total["exceeded"] + total["uncharged"] + total["broken"] + total["open"]))


if __name__ == "__main__":
    main()
