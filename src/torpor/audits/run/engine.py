"""Run an audit: batch by batch, shard by shard, so that a kill at any point loses at most the batches under way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from torpor.audits.plan import Plan
from torpor.audits.run.claim import claimed, goes_on
from torpor.audits.run.estimate import counted, row_weights
from torpor.audits.run.executors import Executor, Local, check_alone
from torpor.audits.run.fronts import check_applies as check_applies
from torpor.audits.run.identity import REPAIRABLE, Identity, identify
from torpor.audits.run.job import Job, LoadedJob, deterministic, source
from torpor.audits.run.limits import Course, Extent, LimitReached, Limits, Spent
from torpor.audits.run.rows import write_examples
from torpor.audits.run.store import Store
from torpor.audits.run.summary import summarize
from torpor.audits.schema import seal
from torpor.core.allocator import keep_freed_memory
from torpor.core.errors import DataError, LimitReachedError, UsageError
from torpor.core.files import write_atomically
from torpor.data.sets import DataSet
from torpor.meters.threads import Threads, using
from torpor.targets.base import Target

PASSES = 3
"""How often the data are read at most, for batches that somebody deleted while others were attacked."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, and how much is done and in all (0 if unknown), in passes that attacks may take."""


def run_audit(
    plan: Plan,
    target: Target,
    out: Path,
    progress: Progress = lambda text, done, total: None,
    *,
    inputs: DataSet | None = None,
    executor: Executor | None = None,
    limits: Limits | None = None,
    threads: int | None = None,
    begin: Callable[[Plan, DataSet, int], None] = lambda plan, data, at_once: None,
) -> Path:
    """Run ``plan`` on ``target`` into the folder ``out``, or resume an interrupted run of the same plan.

    Args:
        plan: what to do.
        target: what ``plan.target`` names, on the plan's device.
        out: folder of the audit.
        progress: called for every batch and attack.
        inputs: what is attacked, if a program handed it over.
        executor: where batches are attacked; in this process if None. Others load the target by its name.
        limits: what the attacks may spend; None for no limits. An audit that reaches one sums up the batches that are
            complete, flags each row ``cut-off``, and resumes from there if it is run with a higher limit.
        threads: of torch, in each worker; by default one, or what this process has if it does the work.
        begin: called once the folder is this audit's, before anything is attacked, with the plan, the data and how
            many batches are attacked at the same time.

    Returns:
        The path of ``audit.json``.

    Raises:
        UsageError: if ``out`` cannot be written, is held by another process, or holds something else; if a limit does
            not allow one batch.
        DataError: if the data cannot be read; what was computed before stays.
        DefenseError: if a defense cannot be fitted.
    """
    began = time.time()
    plan = plan.on(target)
    executor = executor or Local()
    limits = limits or Limits()
    number = threads or (torch.get_num_threads() if executor.in_process else 1)
    check_applies(plan, target)
    if plan.given and not executor.in_process:
        raise UsageError(
            f"expected {' and '.join(plan.given)} that a worker can load by name, got what only this program has; use "
            f"the local executor in place of {executor.id}, or pass names and paths"
        )
    if target.elsewhere:
        from torpor.audits.run.requests import limits_on

        check_alone(target, executor)
        limits = limits_on(target, limits)
    data = plan.chosen(source(target, plan.data_dir, plan.inputs if inputs is None else inputs))
    identity = identify(plan, target, data)
    with ExitStack() as stack:
        claim = stack.enter_context(claimed(plan.to_json() | identity.entries(), out, REPAIRABLE))
        store = Store(out, plan.measures(target), claim.lock.verify)
        anew = goes_on(store, limits) if claim.complete else frozenset()
        if anew is None:
            return out / "audit.json"
        begin(plan, data, executor.at_once)
        keep_freed_memory()
        stack.enter_context(using(Threads(number, number, "for each worker")))
        stack.enter_context(deterministic())
        deadline = None if limits.seconds is None else began + limits.seconds
        shares = deadline is not None and plan.batch_size == 1 and target.offers("until")
        count = counted(data, plan.limit) if shares else None
        todo = None if count is None else tuple(sorted(anew.union(store.lost(count))))
        each = None
        if target.elsewhere:
            from torpor.audits.run.requests import Allotment

            elsewhere: Any = target
            stack.enter_context(elsewhere.kept_in(out))
            each = Allotment.of(plan, target, data, limits)
        job = Job(plan, out.resolve(), claim.lock.token, number, deadline, todo, identity, each, executor.at_once)
        stack.callback(job.release)
        loaded = job.prepare(target, data, store, lambda text: progress(text, 0, 0))
        extent = _Run(job, loaded, executor, limits, progress, anew).attack()
        return _sum_up(job, loaded, extent, identity, limits, progress, began)


class _Run:
    """Attacks what is not attacked yet, for as long as the limits allow."""

    def __init__(
        self,
        job: Job,
        loaded: LoadedJob,
        executor: Executor,
        limits: Limits,
        progress: Progress,
        anew: frozenset[int] = frozenset(),
    ) -> None:
        self.job, self.loaded, self.executor, self.limits, self.progress = job, loaded, executor, limits, progress
        self.anew, self.under_way = set(anew), dict[int, int]()
        plan = job.plan
        try:
            count = counted(loaded.reader.data, plan.limit)
        except DataError:  # which stops the audit where it is reached: what comes before is attacked
            count = plan.limit
        self.batches = None if count is None else -(-count // plan.batch_size)
        self.course = Course.of(row_weights(plan), self.batches)
        self.fitting = sum((Spent.on_fit(front.target, one) for front in loaded.fronts for one in front.every), Spent())
        self.wanted: list[tuple[list[int], str]] = []
        self.spent, self.done, self.stopped = self.fitting, 0, ""

    def attack(self) -> Extent:
        """Return how far it came.

        Raises:
            DataError: if the data cannot be read, or are others whenever they are read.
        """
        self.loaded.check = self._check
        for _ in range(PASSES):
            self.wanted, self.spent, self.done = [], self.fitting, 0
            try:
                for number in self.executor.map(self.job, self._missing(), self._tell):
                    if not (self.executor.in_process or self._has(number)):
                        raise DataError(
                            f"expected the samples of batch {number} to be the same whenever they are read, got others "
                            f"from {self.loaded.reader.data.name}; let samples() yield the same each time"
                        )
                    self._count(number)
            except LimitReached as reached:
                self.stopped = reached.name
            except LimitReachedError as reached:  # the target itself holds to the limits
                self.stopped = reached.limit
            if self.stopped or not self.loaded.store.lost(len(self.wanted)):
                break  # else somebody deleted shards meanwhile
        return self._extent()

    def _missing(self) -> Iterator[int]:
        """Yield the number of each batch that is not attacked yet, until a limit is reached."""
        number, reader = 0, self.loaded.reader
        while not self.stopped and (batch := reader.get(number)) is not None:
            samples = batch.index.tolist()
            self.wanted.append((samples * len(self.job.plan.keys), batch.digest()))
            del batch  # or it would live until the next one is read
            if number not in self.anew and self._has(number):
                self._count(number)
            elif self.job.deadline is not None and time.time() > self.job.deadline:
                self.stopped = "seconds"
                return
            else:
                self.anew.discard(number)
                yield number
            number += 1
            self.stopped = self.limits.reached(self.spent)

    def _has(self, number: int) -> bool:
        return self.loaded.store.has(number, *self.wanted[number])

    def _tell(self, number: int, text: str, row: int) -> None:
        """Say how far batches are that are attacked."""
        self.under_way[number] = row
        of = "" if self.batches is None else f"/{self.batches}"
        done = self.course.attacked(self.done, self.under_way.values())
        self.progress(f"batch {number + 1}{of} {text}", done, self.course.total)

    def _count(self, number: int) -> None:
        """Take note of a batch that is attacked."""
        self.under_way.pop(number, None)
        self.spent += self.loaded.store.spent(number)
        self.done += 1
        if not self.executor.in_process:
            self._tell(number, "attacked", 0)
            del self.under_way[number]

    def _check(self, of_batch: Spent) -> None:
        """Stop between two attacks of a batch in this process."""
        if name := self.limits.reached(self.spent + of_batch):
            raise LimitReached(name)

    def _extent(self) -> Extent:
        """Return which batches count: those before the first that is missing, or with which a limit is exceeded.

        So it does not matter who attacked what first, nor what several workers attacked beyond the limit.
        """
        spent, samples, rows = self.fitting, 0, len(self.job.plan.keys)
        for number, (wanted, _) in enumerate(self.wanted):
            if self.stopped and not self._has(number):
                return Extent(number, samples, self.stopped, spent.cut_short)
            before, spent = spent, spent + self.loaded.store.spent(number)
            if name := self.limits.reached(spent):
                return Extent(number, samples, name, before.cut_short)
            samples += len(wanted) // rows
        return Extent(len(self.wanted), samples, self.stopped, spent.cut_short)


def _sum_up(
    job: Job,
    loaded: LoadedJob,
    extent: Extent,
    identity: Identity,
    limits: Limits,
    progress: Progress,
    began: float,
) -> Path:
    """Write what was found on the batches that are complete."""
    plan, store, data = job.plan, loaded.store, loaded.reader.data
    if extent.batches == 0 and extent.cut_off:
        raise UsageError(
            f"expected limits that allow one batch of {plan.batch_size} samples, got --max-{extent.cut_off} "
            f"{getattr(limits, extent.cut_off):g}; allow more, or pass a smaller --batch-size or fewer attacks"
        )
    if extent.batches == 0:
        raise DataError(f"expected test samples in {data.name}, got none")
    store.merge(extent.batches)
    write_examples(store, [key.slug for key in plan.keys if key.budget])
    course = Course.of(row_weights(plan), extent.batches)  # shorter than was told before where a limit cut it off
    targets = {front.defense: front.target for front in loaded.fronts}
    audit = summarize(
        plan,
        targets,
        data,
        store,
        lambda text, rows: progress(text, course.timed(rows), course.total),
        deadline=None if job.todo is None else job.deadline,
    )
    if wrong := [row for row in audit["summary"] if row["n"] != extent.samples]:
        raise DataError(
            f"expected {extent.samples} samples in each row, got {wrong[0]['n']} of {wrong[0]['attack']}; delete "
            f"{store.shards} and repeat the command"
        )
    samples: dict[str, Any] = {"limit": plan.limit, "read": extent.samples, "batches": extent.batches}
    samples["seconds"] = store.seconds()
    if extent.cut_off:
        samples["cut_off"] = {"limit": extent.cut_off, "value": getattr(limits, extent.cut_off)}
    if extent.cut_short:
        samples["cut_short"] = {"searches": extent.cut_short, **limits.shared(of_each=job.each is not None)}
    if extent.cut_off or extent.cut_short:
        from torpor.audits.evidence import CUT_OFF

        for row in audit["summary"]:
            if extent.cut_off or row["kind"] != "clean":
                row["flags"] = [*row["flags"], CUT_OFF]
    elapsed = {
        "started": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        "seconds": time.time() - began,
    }
    audit |= {"samples": samples, "identity": identity.to_json(), "elapsed": elapsed}
    path = store.folder / "audit.json"
    store.verify()
    sealed = seal(audit, store.folder / "records.parquet")
    write_atomically(path, json.dumps(sealed, indent=1, allow_nan=False) + "\n")
    if not extent.cut_off and not extent.cut_short:
        store.clear()
    return path
