"""An executor: each batch in a process of its own, so that nothing a target leaks outlives a batch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import ClassVar

from torpor.audits.run.executors import Executor, Tell
from torpor.audits.run.job import Job
from torpor.core.errors import UsageError


@dataclass(frozen=True)
class FreshProcesses(Executor):
    """In a new process for each batch, one after the other."""

    id: ClassVar[str] = "example-fresh"

    def map(self, job: Job, shards: Iterable[int], tell: Tell) -> Iterator[int]:
        for number in shards:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as worker:
                try:
                    worker.submit(job.shard, number).result()
                except BrokenProcessPool as error:
                    raise UsageError(f"expected a worker that lives, got one that died over batch {number}") from error
            yield number
