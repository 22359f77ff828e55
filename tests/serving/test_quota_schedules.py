"""Quotas hold in any order of threads, tasks, blocks and failures, and belong to one process."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import multiprocessing
import os
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.queues import Queue
from typing import Any

import pytest
import torch
from benchmarks.quota_schedules import run_schedule
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.work import Outcome, Work
from torpor.defenses.wrapped import Wrapped
from torpor.serving import ClientQuotas, Quota, QuotaError, TokenBucket, metered
from torpor.serving import quota as quotas_of_work
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.early_exit.toys import WindowTarget, needle

X = torch.full((1, 1, 4, 4), 0.5)
RUN = 256.0
"""FLOPs of one run of the needle on X."""
TARGET = metered(needle())


def tried(target: Wrapped = TARGET, count: int = 20) -> int:
    """Return how many of the given number of runs were allowed."""
    done = 0
    for _ in range(count):
        try:
            target.run(X)
            done += 1
        except QuotaError:
            pass
    return done


def test_random_schedules_exceed_nothing() -> None:
    total: Counter[str] = Counter()
    for seed in range(25):
        found = run_schedule(seed)
        assert (found.exceeded, found.uncharged, found.open, found.truth.broken) == (0, 0, False, 0), seed
        total.update(runs=found.truth.runs, failed=found.truth.failed, refused=found.truth.refused)
    assert min(total.values()) > 0
    assert len(total) == 3


def test_the_schedules_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas_of_work, "_book_if_it_fits", lambda *given: (0, 0))
    monkeypatch.setattr(quotas_of_work, "_settle", lambda *given: None)
    found = [run_schedule(seed) for seed in range(10)]
    assert sum(one.exceeded for one in found) > 0
    assert sum(one.uncharged for one in found) > 0


def test_entering_again_is_the_same_quota() -> None:
    with Quota(flops=RUN) as quota:
        with quota:
            pass
        with quota, quota:
            assert tried() == 1
        assert tried() == 0
    assert quota.spent_flops == RUN
    with quota:
        assert tried() == 0
    assert tried(count=3) == 3  # nothing is open any more


def test_old_and_new_threads_and_bare_contexts_are_charged() -> None:
    with ThreadPoolExecutor(2) as old:
        old.submit(int).result()
        with Quota(flops=3 * RUN) as quota, ThreadPoolExecutor(2) as new:
            done = [pool.submit(tried, count=4) for pool in (old, new)]
            assert sum(future.result() for future in done) <= 3
            assert contextvars.Context().run(tried) + sum(future.result() for future in done) == 3
            assert quota.flops_left == 0


def test_an_inner_quota_of_a_thread_does_not_hide_the_outer_one() -> None:
    def work() -> int:
        with Quota(flops=10 * RUN):
            return tried()

    with Quota(flops=2 * RUN) as outer, ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == 2
    assert outer.spent_flops == 2 * RUN


def test_tasks_are_charged_whenever_they_were_made() -> None:
    async def one() -> int:
        return await asyncio.to_thread(tried, TARGET, 2) + tried(count=1)

    async def every() -> int:
        before = asyncio.create_task(one())
        with Quota(flops=4 * RUN) as quota:
            done = sum(await asyncio.gather(before, one(), one()))
            assert quota.spent_flops == 4 * RUN
        return done

    assert asyncio.run(every()) == 4


def test_each_client_may_have_a_quota_of_its_own() -> None:
    quotas = [Quota(flops=2 * RUN), Quota(flops=3 * RUN)]
    targets = [metered(needle(), quota) for quota in quotas]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(tried, targets)) == [2, 3]
    assert [quota.spent_flops for quota in quotas] == [2 * RUN, 3 * RUN]
    with Quota(flops=RUN):
        assert tried(metered(metered(needle(), Quota(flops=5 * RUN)))) == 1


class Broken(WindowTarget):
    """Fails when its work is done, or says something impossible."""

    how: Any = None

    def run(self, inputs: Tensor) -> Outcome:
        outcome = super().run(inputs)
        if isinstance(self.how, int):
            return Outcome(outcome.outputs, Work(outcome.work.counts * self.how))
        raise self.how


@pytest.mark.parametrize("how", [RuntimeError, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, -1])
def test_work_done_is_work_charged(how: type[BaseException] | int) -> None:
    target = Broken([0.5, 0.5, 0.5], [0.2, 0.1, 0.04])
    target.how = how
    error = UsageError if isinstance(how, int) else how
    clients = ClientQuotas(TokenBucket(0.0, 10 * RUN))
    with Quota(flops=10 * RUN) as quota, pytest.raises(error):
        metered(target).run(X)
    with pytest.raises(error):
        clients.run("eve", target, X)
    assert quota.spent_flops == RUN
    assert clients.available("eve") == 9 * RUN


def test_a_run_above_its_bound_is_charged_in_full() -> None:
    target = Broken([0.5, 0.5, 0.5], [0.2, 0.1, 0.04])
    target.how = 3
    clients = ClientQuotas(TokenBucket(0.0, 2 * RUN))
    clients.run("eve", target, X)
    with Quota(flops=2 * RUN) as quota:
        metered(target).run(X)
        assert tried() == 0
    assert (quota.spent_flops, quota.flops_left) == (3 * RUN, 0)
    assert clients.available("eve") == 0
    with pytest.raises(QuotaError):
        clients.run("eve", target, X)


def test_blocks_close_in_any_order_and_late() -> None:
    first, second = Quota(flops=9 * RUN), Quota(flops=9 * RUN)

    def some() -> Generator[int, None, None]:
        with second:
            yield tried(count=2)
            yield tried(count=2)

    with first:
        found = some()
        assert next(found) == 2
    assert next(found) == 2
    found.close()
    tried(count=2)
    assert (first.spent_flops, second.spent_flops) == (2 * RUN, 4 * RUN)


def test_signals_are_charged_and_other_settings_stay_metered() -> None:
    with Quota(flops=2 * RUN) as quota:
        TARGET.signals(X)
        assert quota.spent_flops == RUN
        assert tried(TARGET.upto(4)) == 1
        with pytest.raises(QuotaError):
            TARGET.signals(X)
    steps = metered(PeakTarget(cap=40)).with_cap(5)
    with Quota(steps=7) as quota:
        assert [len(steps.run(X).outputs[0].ids) for _ in range(2)] == [5, 2]


def test_copies_share_one_quota_and_none_leaves_the_process() -> None:
    quota = Quota(flops=2 * RUN)
    target = metered(needle(), quota)
    assert tried(copy.deepcopy(target)) == 2
    assert tried(copy.copy(target)) == tried(target) == 0
    clients = ClientQuotas(TokenBucket(0.0, RUN))
    clients.run("eve", needle(), X)
    for some in (copy.copy(clients), copy.deepcopy(clients)):
        assert some.available("eve") == 0
    for thing in (quota, target, clients):
        with pytest.raises(UsageError, match="each process"):
            pickle.dumps(thing)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), -1, 0, True, "5", 2.5])
def test_settings_that_are_no_limit(bad: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="quota of steps"):
        Quota(steps=bad)
    if bad == 2.5:
        return
    with pytest.raises(UsageError, match="quota of FLOPs"):
        Quota(flops=bad)
    with pytest.raises(UsageError):
        TokenBucket(1.0, bad)
    if bad or bad != 0:
        with pytest.raises(UsageError):
            TokenBucket(bad, 1.0)
    clients = ClientQuotas(TokenBucket(0.0, RUN))
    if isinstance(bad, float) or bad == -1:
        with pytest.raises(UsageError), clients.reserved("eve", bad):
            pass
        with pytest.raises(UsageError), clients.reserved("eve", 6.0) as settle:
            settle(bad)
        assert clients.available("eve") == RUN - 6


def test_a_clock_that_jumps_earns_nothing() -> None:
    now = [100.0]
    clients = ClientQuotas(TokenBucket(1.0, 10.0), lambda: now[0])
    assert clients.available("eve") == 10
    for time in (0.0, float("nan"), 99.0, float("inf"), -float("inf"), 50.0):
        now[0] = time
        for number in range(1100):  # many strangers, so that full buckets are forgotten
            clients.available(f"{time} {number}")
        with clients.reserved("eve", clients.available("eve")):
            pass
        assert clients.available("eve") == 0
    now[0] = 103.0
    assert clients.available("eve") == 3


def test_requests_of_one_client_at_once_share_its_burst() -> None:
    clients = ClientQuotas(TokenBucket(0.0, 3 * RUN))
    barrier = threading.Barrier(8)
    done = []

    def send() -> None:
        barrier.wait()
        with suppress(QuotaError):
            done.append(clients.run("eve", needle(), X))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = sum(needle().prices.cost(outcome.work).item() for outcome in done)
    assert spent + clients.available("eve") == 3 * RUN


def in_fork(action: Callable[[], object]) -> str:
    """Return what an action that must be refused says in a forked child."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            action()
            os.write(write, b"done")
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as file:
        return file.read()


def own() -> None:
    with Quota(flops=RUN):
        TARGET.run(X)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_no_copy_of_the_quota() -> None:
    clients = ClientQuotas(TokenBucket(0.0, RUN))
    with Quota(flops=RUN):
        assert "QuotaError: expected runs in the process" in in_fork(lambda: TARGET.run(X))
        assert "QuotaError: expected runs in the process" in in_fork(own)
        assert tried() == 1
    assert "got none" in in_fork(lambda: TARGET.run(X))
    assert in_fork(own) == "done"
    assert "each process" in in_fork(lambda: clients.run("eve", needle(), X))
    assert "each process" in in_fork(lambda: metered(needle(), Quota(flops=RUN)) and clients.available("eve"))


def spawned(queue: Queue[str], target: Target) -> None:
    for one in (target, TARGET):
        try:
            one.run(X)
            queue.put("done")
        except QuotaError as error:
            queue.put(str(error))


def test_a_spawned_child_has_no_copy_of_the_quota() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with Quota(flops=RUN):
        child = context.Process(target=spawned, args=(queue, TARGET))
        child.start()
        said = [queue.get(timeout=60) for _ in range(2)]
        child.join()
    assert all("open one in each process" in text for text in said), said
