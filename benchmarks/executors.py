"""(n) How many samples per second do two workers attack, against one? ``python -m benchmarks.executors``.

Both have one thread per worker. The clock runs from the first batch that is asked for to the last one that is finished,
so each side also pays for starting its workers. Leave two processors idle for it: busy ones make the ratio smaller.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from benchmarks.common import Options, Row, command
from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.audits.run.executors import Executor, Tell
from torpor.audits.run.job import Job
from torpor.audits.run.processes import Processes
from torpor.audits.run.ray_tasks import RayTasks
from torpor.targets.resolve import load_target

GOAL = 1.8
PLAN = Plan("sdn-digits", ("deepsloth",), "Linf", (0.01,), steps=800, limit=384, batch_size=8, timed=False)
"""Compute-bound: what is read and written takes far less than a hundredth of the time."""


@dataclass(frozen=True)
class Clocked(Executor):
    """Another executor with a clock.

    Attributes:
        inner: does the work.
        seconds: what it took, once it is done.
    """

    id: ClassVar[str] = "clocked"

    inner: Executor
    seconds: list[float] = field(default_factory=list, compare=False)

    @override
    def map(self, job: Job, shards: Iterable[int], tell: Tell) -> Iterator[int]:
        begin = time.perf_counter()
        yield from self.inner.map(job, shards, tell)
        self.seconds.append(time.perf_counter() - begin)


def seconds(plan: Plan, executor: Executor, out: Path) -> tuple[float, bytes]:
    """Return what attacking takes, and the records."""
    clocked = Clocked(executor)
    run_audit(plan, load_target(plan.target), out, executor=clocked)
    return clocked.seconds[0], (out / "records.parquet").read_bytes()


def scaling(name: str, plan: Plan, one: Executor, two: Executor) -> Row:
    """Compare two workers with one; their records must be the same."""
    with tempfile.TemporaryDirectory() as folder:
        alone, records = seconds(plan, one, Path(folder) / "one")
        together, same = seconds(plan, two, Path(folder) / "two")
    if records != same:
        raise RuntimeError(f"expected the same records from one and two workers of {name}, got others")
    note = f"{plan.limit} samples in {alone:.0f} and {together:.0f} s, records equal"
    return Row(
        f"(n) samples per second, {name}, two workers / one", alone / together, goal=GOAL, at_least=True, note=note
    )


def run(options: Options) -> list[Row]:
    """Compare two workers with one, as processes and, where it is installed, on Ray."""
    rows = [scaling("processes", PLAN, Processes(1), Processes(2))]
    if find_spec("ray"):
        rows.append(scaling("ray", PLAN, RayTasks(workers=1), RayTasks(workers=2)))
    return rows


if __name__ == "__main__":
    command(run)
