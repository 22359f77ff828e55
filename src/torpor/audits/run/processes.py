"""Workers beside this process, on the same machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.queues import Queue
from queue import Empty
from typing import ClassVar, Self, TypeAlias

from typing_extensions import override

from torpor.audits.run.executors import DEATHS, Executor, Tell, gave_up
from torpor.audits.run.job import Job
from torpor.core.errors import UsageError

Told: TypeAlias = "Queue[tuple[int, str, int]]"
ASKED_S = 0.5
"""How often workers are asked how far they are."""
_TOLD: list[Told] = []
"""In a worker: where it says so."""


@dataclass(frozen=True)
class Processes(Executor):
    """In N processes of this machine (processes:N).

    A worker that dies takes the batch under way with it, no finished one; a new one attacks that batch again.

    Attributes:
        workers: processes.
    """

    id: ClassVar[str] = "processes"

    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"expected processes:N with 1 worker or more, got {self.workers}; such as processes:2")

    def __str__(self) -> str:
        return f"{self.id}:{self.workers}"

    @property
    @override
    def at_once(self) -> int:
        return self.workers

    @classmethod
    def parse(cls, value: str) -> Self:
        """See :meth:`Executor.parse`; the value is the number of workers."""
        if not value.isdecimal():
            raise UsageError(f"expected processes:N with a number of workers, got processes:{value}")
        return cls(int(value))

    @override
    def map(self, job: Job, shards: Iterable[int], tell: Tell) -> Iterator[int]:
        waiting, todo, deaths = deque[int](), iter(shards), 0
        context = multiprocessing.get_context("spawn")
        while True:
            told = context.Queue()  # a new one for new workers: what held the old one may be dead
            pool = ProcessPoolExecutor(self.workers, context, _begin, (told,))
            running: dict[Future[None], int] = {}
            try:
                while self._fill(pool, job, running, waiting, todo):
                    done, _ = wait(running, ASKED_S, FIRST_COMPLETED)
                    _pass_on(told, tell)
                    for future in done:
                        future.result()
                        deaths = 0
                        yield running.pop(future)
                return
            except BrokenProcessPool as error:
                waiting.extend(running.values())
                deaths += 1
                if deaths == DEATHS:
                    raise gave_up(f"batches {', '.join(map(str, sorted(waiting)))}") from error
            except Exception:  # what is under way may still finish
                wait(running)
                raise
            except BaseException:
                _kill(pool)
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _fill(
        self,
        pool: ProcessPoolExecutor,
        job: Job,
        running: dict[Future[None], int],
        waiting: deque[int],
        todo: Iterator[int],
    ) -> bool:
        """Give every worker a batch, those first that a dead one left; return whether any is under way."""
        while len(running) < self.workers:
            number = waiting.popleft() if waiting else next(todo, None)
            if number is None:
                break
            try:
                running[pool.submit(_shard, job, number)] = number
            except BrokenProcessPool:
                waiting.appendleft(number)
                raise
        return bool(running)


def _begin(told: Told) -> None:
    """Prepare a worker: Ctrl-C is for the driver to see, and a worker without a driver has nothing to do."""
    told.cancel_join_thread()
    _TOLD.append(told)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    driver = multiprocessing.parent_process()
    assert driver is not None

    def follow() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _shard(job: Job, number: int) -> None:
    """Attack a batch in a worker."""
    job.shard(number, lambda text, row: _TOLD[0].put((number, text, row)))


def _pass_on(told: Told, tell: Tell) -> None:
    """Tell the driver what workers have said since."""
    with suppress(Empty):
        while True:
            tell(*told.get_nowait())


def _kill(pool: ProcessPoolExecutor) -> None:
    """End all workers at once."""
    for process in list((pool._processes or {}).values()):
        process.kill()
