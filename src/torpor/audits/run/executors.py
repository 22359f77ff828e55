"""Where the batches of an audit are attacked: in this process, in others beside it, or on a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from torpor.audits.run.job import Job
from torpor.audits.run.limits import Limits
from torpor.core.errors import UsageError
from torpor.core.registry import MARK, Registry, Spec, is_path, typed
from torpor.meters.threads import Threads
from torpor.targets.base import Target

if TYPE_CHECKING:
    from torpor.audits.plan import Plan
    from torpor.audits.run.estimate import Estimate

Tell = Callable[[int, str, int], None]
"""Takes the number of a batch, the row that is attacked, and how many rows of that batch are done."""
DEATHS = 3
"""How many workers in a row may die before an executor gives up."""
WORTH_S, MOST_WORKERS = 20.0, 8
"""Seconds of attacking, times threads, for which it pays to start workers; and how many are started at most."""


@dataclass(frozen=True)
class Executor(ABC):
    """Attacks the batches of an audit.

    Attributes:
        id: what the command line calls it.
        in_process: whether it uses the target of this very process, so that no worker loads it by its name.
    """

    id: ClassVar[str]
    in_process: ClassVar[bool] = False

    @classmethod
    def parse(cls, value: str) -> Self:
        """Return the executor with what follows ``ID:`` in its specification, by default ``KEY=VALUE:KEY=VALUE``.

        Raises:
            UsageError: if it has no such setting.
        """
        spec = Spec.of(cls.id, value)
        if spec.value:
            raise UsageError(f"expected {cls.id}:KEY=VALUE, got {cls.id}:{value}; name the option")
        return cls(**typed(cls, spec.options, cls.id))

    def __str__(self) -> str:
        return self.id

    @property
    def at_once(self) -> int:
        """Batches that are attacked at the same time, if that is known."""
        return 1

    def chosen(self, workers: Callable[[], int]) -> Executor:
        """Return the executor that is going to run a plan: itself, unless it leaves that to another.

        Args:
            workers: returns how many processes are worth it.
        """
        return self

    @abstractmethod
    def map(self, job: Job, shards: Iterable[int], tell: Tell) -> Iterator[int]:
        """Run ``job.shard(number)`` for each of ``shards`` and yield the number of each that is finished, in any order.

        Args:
            job: picklable.
            shards: numbers, to be taken no earlier than needed: reading ahead takes memory.
            tell: takes how far a batch is, for those who wait; an executor may leave it uncalled.

        Raises:
            TorporError: what a shard raises; the shards that are finished stay on disk.
            LimitReached: if a shard raises it.
            UsageError: if workers keep dying.
        """


@dataclass(frozen=True)
class Local(Executor):
    """In this process, one batch after the other."""

    id: ClassVar[str] = "local"
    in_process: ClassVar[bool] = True

    @override
    def map(self, job: Job, shards: Iterable[int], tell: Tell) -> Iterator[int]:
        for number in shards:
            job.shard(number, partial(tell, number))
            yield number


@dataclass(frozen=True)
class Auto(Local):
    """In this process, or in several where that is faster."""

    id: ClassVar[str] = "auto"

    @override
    def chosen(self, workers: Callable[[], int]) -> Executor:
        count = workers()
        return Local() if count == 1 else load_executor(f"processes{MARK}{count}")


EXECUTORS: Registry[Executor] = Registry(
    "torpor.executors",
    Executor,  # type: ignore[type-abstract]
    {
        "auto": "torpor.audits.run.executors:Auto",
        "local": "torpor.audits.run.executors:Local",
        "processes": "torpor.audits.run.processes:Processes",
        "ray": "torpor.audits.run.ray_tasks:RayTasks",
    },
    "executor",
)
"""Every executor; plug-ins add theirs as entry points of the group ``torpor.executors``."""


def load_executor(text: str) -> Executor:
    """Build an executor by its specification: ``auto``, ``local``, ``processes:N``, ``ray:ADDRESS``, or a plug-in's.

    Raises:
        UsageError: if there is none, or it has no such settings.

    >>> load_executor("local"), load_executor("processes:2")
    (Local(), Processes(workers=2))
    """
    name, _, rest = text.partition(MARK)
    if name not in EXECUTORS and is_path(text):
        attribute, _, rest = rest.partition(MARK)
        name = f"{name}{MARK}{attribute}"
    return EXECUTORS.find(name).parse(rest)


def gainful_workers(
    plan: Plan, target: Target, about: Callable[[], Estimate], threads: Threads, limits: Limits | None = None
) -> int:
    """Return how many processes attack sooner than one does: as many as there are processors for batches, or one.

    One is best for what is over soon or has to be, for limits on passes or cost, which one process holds to, for a
    target elsewhere or on another device than the CPU, where threads were asked for, and where memory would not do for
    all. Several with a thread each are faster than one with as many threads.

    Args:
        plan: what is done.
        target: what is attacked.
        about: returns what that is going to spend; asked only where it matters. It runs a batch as attacks do, after
            which this process has taken as much memory as each of several would.
        threads: that the target gains from.
        limits: what the attacks may spend.

    Raises:
        DataError: if the data cannot be read.
    """
    alone = target.elsewhere or target.device.type != "cpu" or threads.most == 1 or (threads.asked and threads.used > 1)
    shared = limits is not None and (limits.queries is not None or limits.cost is not None)
    if alone or plan.constant or plan.given or shared:
        return 1
    if limits is not None and limits.seconds is not None and limits.seconds < WORTH_S * threads.used:
        return 1
    found = about()
    batches = threads.most if found.samples is None else -(-found.samples // plan.batch_size)
    each = found.seconds if found.likely is None else found.likely
    if found.samples is not None and each * found.samples < WORTH_S * threads.used:
        return 1
    from torpor.meters.free import free_memory, peak_memory

    workers = min(batches, threads.most, MOST_WORKERS)
    free, taken = free_memory(target.device), peak_memory()
    if free is not None and taken is not None:
        workers = min(workers, free // taken)
    return workers if workers >= max(2, threads.used) else 1


def check_alone(target: Target, executor: Executor) -> None:
    """Refuse to ask a target elsewhere from several processes: one of them holds to its limits.

    Raises:
        UsageError: if the executor starts some.
    """
    if not executor.in_process:
        raise UsageError(
            f"expected the local executor for {target.name}, which is asked within limits that one process keeps, got "
            f"{executor.id}; leave it out: parallel=N behind the address asks N requests at once"
        )


def gave_up(what: str) -> UsageError:
    """Return the error of an executor whose workers keep dying."""
    return UsageError(
        f"expected workers that live, got {DEATHS} in a row that died over {what}, perhaps for want of memory; take "
        "fewer workers or a smaller --batch-size, and repeat the command: what is finished stays"
    )
