"""Workers of a Ray cluster, on this machine or on others that see the same folder."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.audits.run.executors import DEATHS, Executor, Tell, gave_up
from torpor.audits.run.job import Job
from torpor.core.errors import UsageError


@dataclass(frozen=True)
class RayTasks(Executor):
    """As tasks of Ray, started here or running at an address.

    One task per batch, each with as many processors as a worker has threads; Ray repeats what dies.

    Attributes:
        address: of a running cluster, such as ``"auto"`` or ``"10.0.0.1:6379"``; empty to start one on this machine, or
            to use the one that this process is already connected to.
        workers: tasks at once; as many as the cluster has processors for, if 0.
    """

    id: ClassVar[str] = "ray"

    address: str = ""
    workers: int = 0

    @property
    @override
    def at_once(self) -> int:
        return max(1, self.workers)

    @classmethod
    def parse(cls, value: str) -> Self:
        """See :meth:`Executor.parse`; the value is the address."""
        return cls(value)

    @override
    def map(self, job: Job, shards: Iterable[int], tell: Tell) -> Iterator[int]:
        with self._connected() as ray:
            task = ray.remote(num_cpus=job.threads, max_retries=DEATHS - 1)(_shard)
            most = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // job.threads)
            todo, here = iter(shards), (os.getcwd(), tuple(sys.path))
            running: dict[Any, int] = {}
            while True:
                while len(running) < most and (number := next(todo, None)) is not None:
                    running[task.remote(job, number, *here)] = number
                if not running:
                    return
                for done in ray.wait(list(running))[0]:
                    number = running.pop(done)
                    try:
                        ray.get(done)
                    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
                        raise gave_up(f"batch {number}") from error
                    except ray.exceptions.RayTaskError as error:
                        ray.wait(list(running), num_returns=max(1, len(running)))  # what is under way may still finish
                        raise error.cause from error
                    yield number

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Connect to the cluster, or start one without dashboard and usage statistics; leave it as it was found."""
        try:
            import ray
        except ImportError as error:
            raise UsageError(f"expected Ray to be installed, got {error}; pip install 'torpor[ray]'") from error
        if ray.is_initialized():
            yield ray
            return
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
        own: dict[str, Any] = {} if self.address else {"include_dashboard": False, "num_cpus": self.workers or None}
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=self.address or "local", **quiet, **own)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"a Ray cluster at {self.address}" if self.address else "Ray to start here"
            raise UsageError(f"expected {where}, got {type(error).__name__}: {error}") from error
        if main:
            signal.signal(signal.SIGTERM, before)  # Ray has its own idea
        try:
            yield ray
        finally:
            ray.shutdown()


def _shard(job: Job, number: int, folder: str, places: tuple[str, ...]) -> None:
    """Run one shard in a worker that finds modules and relative paths where the driver does."""
    if os.path.isdir(folder):
        os.chdir(folder)
    sys.path.extend(place for place in places if place not in sys.path)
    job.shard(number)
