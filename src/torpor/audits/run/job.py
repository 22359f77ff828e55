"""What a worker needs to attack any batch of an audit: a plan, a folder, the batches, and the right to write there."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from torpor.audits.lock import verify_owner
from torpor.audits.plan import Plan
from torpor.audits.run.attack_batch import attack_batch
from torpor.audits.run.claim import differing
from torpor.audits.run.fronts import Front, fronts
from torpor.audits.run.identity import Identity, identify
from torpor.audits.run.limits import Spent, check_time
from torpor.audits.run.store import Store
from torpor.core.allocator import hand_back_freed_memory
from torpor.core.errors import DataError, TorporError, UsageError
from torpor.core.space import DenseSpace
from torpor.data.sets import Batch, DataSet
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

if TYPE_CHECKING:
    from torpor.audits.run.requests import Allotment


class Reader:
    """Reads the test samples in batches; holds the one that was asked for last.

    Args:
        data: what is read.
        batch_size: samples per batch.
        limit: samples at most; all if None.

    >>> import torch
    >>> from torpor.data.tensors import TensorImages
    >>> data = TensorImages({"test": (torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5))})
    >>> reader = Reader(data, batch_size=2, limit=4)
    >>> [batch.index.tolist() for batch in (reader.get(1), reader.get(0)) if batch], reader.get(2)
    ([[2, 3], [0, 1]], None)
    """

    def __init__(self, data: DataSet, batch_size: int, limit: int | None) -> None:
        self.data, self.batch_size, self.limit = data, batch_size, limit
        self._number = -1
        self._batch: Batch | None = None
        self._rest: Iterator[Batch] | None = None

    def get(self, number: int) -> Batch | None:
        """Return batch ``number``, counted from 0; None after the last one.

        Raises:
            DataError: if the data cannot be read.
        """
        if number == self._number:
            return self._batch
        follows = number == self._number + 1
        self._batch = None  # or two would be held while the next one is read
        if self._rest is None or not follows:
            self._rest = self.data.batches("test", self.batch_size, self.limit, first=number * self.batch_size)
        self._number, self._batch = number, next(self._rest, None)
        return self._batch


def source(target: Target, data_dir: Path | str | None, inputs: Path | str | DataSet | None) -> DataSet:
    """Return the user's own ``inputs``, else the target's data, which may lie in ``data_dir``.

    Raises:
        UsageError: if the inputs do not fit the target.
        DataError: if there are no data, or a text of the user's cannot be sent.
    """
    if inputs is None:
        data = target.data(None if data_dir is None else Path(data_dir))
    elif isinstance(inputs, DataSet):
        data = inputs
    else:
        from torpor.data.own import own_inputs

        data = own_inputs(Path(inputs), target.space, letterbox=getattr(target, "letterbox", False))
    if isinstance(target.space, DenseSpace):
        return data
    from torpor.core.text import TextSpace
    from torpor.data.cut_texts import CutTexts

    assert isinstance(target.space, TextSpace)
    data = CutTexts(data, target.space)
    if inputs is not None:
        place = data.name if isinstance(inputs, DataSet) else inputs
        for number, (text, _) in enumerate(data.samples("test"), 1):
            if problem := target.space.problem(text):
                raise DataError(f"expected {problem} in text {number} of {place}; change or remove it")
    return data


@dataclass(eq=False)
class LoadedJob:
    """A job with all that one process attacks batches with.

    Attributes:
        fronts: the undefended target, then one with each defense, all fitted.
        reader: of the batches.
        store: where shards are written.
        check: called between attacks with what the batch has taken; may raise.
    """

    fronts: list[Front]
    reader: Reader
    store: Store
    check: Callable[[Spent], None] = lambda spent: None


_LOADED: dict[Job, LoadedJob] = {}
"""The job of this process; at most one, since each holds a target."""


@dataclass(frozen=True)
class Job:
    """The part of an audit that can be cut into shards, one per batch, for any process that sees the folder.

    Attributes:
        plan: of the audit.
        folder: of the audit, absolute.
        owner: token of the lock under which shards may be written.
        threads: of torch, in each worker.
        deadline: seconds since the epoch after which no further attack begins; None for never.
        todo: the batches to be attacked, if each of them has its share of the time that is left; None if none has.
        identity: of target, data and code; a worker that finds others is of no use.
        each: what each sample's searches may ask of a target elsewhere; None for no limit.
        at_once: batches that are attacked at the same time.
    """

    plan: Plan
    folder: Path
    owner: str = ""
    threads: int = 1
    deadline: float | None = None
    todo: tuple[int, ...] | None = None
    identity: Identity | None = field(default=None, compare=False)
    each: Allotment | None = None
    at_once: int = 1

    def prepare(
        self, target: Target, data: DataSet, store: Store, tell: Callable[[str], None] = lambda text: None
    ) -> LoadedJob:
        """Fit what must be fitted, store it for all workers, and keep the result for shards in this process.

        Args:
            target: what ``plan.target`` names.
            data: what is attacked, and learned from.
            store: of the folder.
            tell: called with what is being fitted.

        Raises:
            DataError: if a split to learn from cannot be read.
            DefenseError: if a defense cannot be fitted.
        """
        reader = Reader(data, self.plan.batch_size, self.plan.limit)
        with deterministic():
            loaded = LoadedJob(fronts(self.plan, target, data, store, tell), reader, store)
        _LOADED.clear()
        _LOADED[self] = loaded
        return loaded

    def release(self) -> None:
        """Forget what this process has loaded."""
        _LOADED.clear()

    def shard(self, number: int, tell: Callable[[str, int], None] = lambda text, row: None) -> None:
        """Attack one batch and write its shard.

        Args:
            number: of the batch.
            tell: called with the row that is attacked, and how many of the batch are done.

        Raises:
            UsageError: if the folder is not written by the audit any more, or this process loads another target.
            DataError: if there is no such batch, or it cannot be read.
            LimitReached: if a limit was reached meanwhile.
        """
        loaded = _LOADED.get(self) or self._load()
        batch = loaded.reader.get(number)
        if batch is None:
            raise DataError(f"expected a batch {number} in {loaded.reader.data.name}, got fewer; leave the data alone")

        until = self.until(number)

        def check(spent: Spent) -> None:
            loaded.check(spent)
            check_time(self.deadline if until is None else None)  # what ends by itself is not given up

        with deterministic():
            done = attack_batch(self.plan, loaded.fronts, batch, tell, check, until, self.each)
        table = pa.concat_tables(done.tables[key] for key in self.plan.keys)
        loaded.store.write(number, table, done.examples, done.seconds, batch.digest(), done.spent)
        del table, done
        hand_back_freed_memory()

    def until(self, number: int) -> float | None:
        """Return when a batch should be done, if it has a share of the time; batches before it have had theirs."""
        if self.deadline is None or self.todo is None:
            return None
        now, before = time.time(), sum(each < number for each in self.todo)
        rounds = -(-len(self.todo) // self.at_once) - before // self.at_once
        return now + max(0.0, self.deadline - now) / max(1, rounds)

    def load_by_name(self) -> tuple[Target, DataSet]:
        """Return the target and its data, loaded by their names: this is a worker.

        Raises:
            UsageError: if there are no such, or they are others than those that the job is of.
        """
        torch.set_num_threads(self.threads)
        plan = self.plan
        try:
            target = load_target(plan.target, device=plan.device, rule=plan.rule, downstream=plan.downstream)
        except TorporError as error:
            raise UsageError(
                f"expected a target that a worker can load by its name, got {plan.target!r}: {error}; name it "
                "pkg.module:factory, or use the local executor"
            ) from error
        data = plan.chosen(source(target, plan.data_dir, plan.inputs))
        found = identify(plan, target, data)
        if self.identity is not None and found != self.identity:
            names = ", ".join(differing(self.identity.entries(), found.entries()))
            raise UsageError(
                f"expected a worker that loads the same target, data and code by the name {plan.target}, got others "
                f"({names}); install the same everywhere, or use the local executor"
            )
        return target, data

    def _load(self) -> LoadedJob:
        """Load what was fitted from the folder, too; readers are closed before the worker's modules are."""
        atexit.register(self.release)
        target, data = self.load_by_name()
        store = Store(self.folder, self.plan.measures(target), partial(verify_owner, self.folder, self.owner))
        return self.prepare(target, data, store)


def deterministic() -> AbstractContextManager[None]:
    """Return a context in which convolutions on a GPU give the same result each time."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags
