"""Run a search for caps: the folder, the workers, and what is written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from torpor.audits.plan import Plan
from torpor.audits.recommend.choices import CapChoice, choices, ladders
from torpor.audits.recommend.evidence import CapEvidence, CapRecords
from torpor.audits.recommend.limits import parse_limit
from torpor.audits.recommend.recommendation import CapRecommendation
from torpor.audits.recommend.search import CapSearch, CapTask
from torpor.audits.recommend.trial import CapTrial, CraftedBatch
from torpor.audits.request import Request
from torpor.audits.run.claim import claimed
from torpor.audits.run.engine import check_applies
from torpor.audits.run.executors import Executor, Local
from torpor.audits.run.identity import identify
from torpor.audits.run.job import deterministic
from torpor.audits.run.limits import LimitReached, Limits, check_time
from torpor.audits.texts import save_table
from torpor.core.batches import Samples
from torpor.core.errors import DataError, UsageError
from torpor.core.files import write_atomically
from torpor.data.sets import Batch
from torpor.meters.threads import Threads, using

FILE, RECORDS = "recommend.json", "recommend.parquet"
SAMPLES = 64
"""Samples that are attacked by default: through each of several choices of caps, and half of a search is bisection."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CapRequest:
    """What a user asks for.

    Attributes:
        limits: such as ``("p99(cost) < 2x",)``.
        utility_loss: points of the mean utility that may be lost.
        utility: ``"own"`` or ``"agreement"``.
        kinds: ids of the guards to choose from; None for all that apply.
        exhaustive: attack through every choice.
    """

    limits: tuple[str, ...]
    utility_loss: float = 0.01
    utility: str = "own"
    kinds: tuple[str, ...] | None = None
    exhaustive: bool = False


def recommend(
    asked: CapRequest,
    audit: Request,
    out: Path,
    progress: Progress = lambda text, done, total: None,
    *,
    executor: Executor | None = None,
    limits: Limits | None = None,
    threads: int = 1,
) -> CapRecommendation:
    """Search for caps that keep the limits, and write what was found into the folder ``out``.

    What was crafted stays there, so that the same command resumes, and another question on the same target, data and
    attacks attacks only what is new.

    Args:
        asked: the question.
        audit: target, data, attacks and seed.
        out: the folder.
        progress: called with what is going on, batches attacked of a choice, and all of them.
        executor: where batches are attacked; in this process if None.
        limits: what the search may spend: seconds after which nothing more is attacked, and passes and runs over all
            runs of the command, which one batch may pass. The result says where one ended it. None for no limits.
        threads: of torch, in each worker.

    Raises:
        UsageError: if the target has no caps, always costs the same, or ``out`` holds something else.
        DataError: if there are no data, nothing to measure utility by, or samples that cost nothing.
    """
    began, workers, limits = time.time(), executor or Local(), limits or Limits()
    target = audit.target
    plan = audit.plan.on(target)
    task = CapTask(tuple(parse_limit(text, target.prices.currency) for text in asked.limits), asked.utility_loss)
    if not task.limits:
        raise UsageError("expected a quantity that caps must keep, got none; such as --quantity 'p99(cost) < 2x'")
    if plan.constant:
        raise UsageError(f"expected a target whose work depends on its input, got {target.name}; no cap saves anything")
    check_applies(plan, target)
    if plan.given and not workers.in_process:
        raise UsageError(f"expected {' and '.join(plan.given)} that a worker can load by name; use the local executor")
    data = audit.data()
    identity = identify(plan, target, data)
    with ExitStack() as stack:
        claim = stack.enter_context(claimed({"verb": "recommend", **plan.to_json(), **identity.entries()}, out))
        if target.elsewhere:
            elsewhere: Any = target
            elsewhere.spend(limits.queries, limits.cost)
            elsewhere.within(limits.seconds)
            stack.enter_context(elsewhere.kept_in(out))
        stack.enter_context(using(Threads(threads, threads, "as asked for")))
        stack.enter_context(deterministic())
        notes: dict[str, None] = {}
        batches = list(data.batches("test", plan.batch_size, plan.limit))
        if not batches:
            raise DataError(f"expected test samples in {data.name}, got none")
        records = CapRecords(target, batches, asked.utility, notes.setdefault)
        for limit in task.limits:
            limit.require_cost(records.cost)
        found = choices(target, ladders(target, data, plan.seed, asked.kinds, notes.setdefault))
        deadline = None if limits.seconds is None else began + limits.seconds
        trial = CapTrial(plan, out.resolve(), claim.lock.token, threads, deadline, None, identity)
        trial.hold(target, data)
        stack.callback(trial.release)
        crafter = CapCrafter(trial, records, workers, progress, limits)

        def check() -> None:
            check_time(deadline)
            crafter.check()

        search = CapSearch(records, task, crafter, notes.setdefault, check)
        search.run(found, exhaustive=asked.exhaustive)
        if search.stopped:
            notes.setdefault("A limit ended the search: other caps may be better than what is shown.")
        result = CapRecommendation(
            *(search, target.name, "agreement" if asked.utility == "agreement" else target.utility_name),
            crafter.passes,
            _settings(asked, plan),
            tuple(notes),
        )
        claim.lock.verify()
        _write(result, batches, out)
    return result


@dataclass(eq=False)
class CapCrafter:
    """Attacks through some caps, batch by batch, unless that lies in the folder already.

    Attributes:
        trial: through no caps; what is attacked and where it is stored.
        records: whose samples these are.
        executor: where batches are attacked.
        progress: called with the caps, batches done, and all of them.
        limits: of which ``queries`` counts passes and runs.
        passes: forward and backward passes of all attacks so far.
    """

    trial: CapTrial
    records: CapRecords
    executor: Executor
    progress: Progress
    limits: Limits = field(default_factory=Limits)
    passes: int = 0

    def __call__(self, choice: CapChoice) -> list[Samples]:
        """Return what was crafted through these caps, batch by batch.

        Raises:
            LimitReached: if a limit is.
        """
        trial, target = replace(self.trial, defense=choice.defense), self.records.target
        numbers = range(len(self.records.batches))
        known = {number: found for number in numbers if (found := trial.crafted(number, target)) is not None}
        missing = [number for number in numbers if number not in known]
        text = "attacking without caps" if choice.defense is None else f"attacking through {choice.name}"
        done = len(known)
        self._count(known.values())

        def tell(number: int, attack: str, _: int) -> None:
            self.progress(f"{text}: batch {number + 1}/{len(numbers)}, {attack}", done, len(numbers))

        self.progress(text, done, len(numbers))
        for number in self.executor.map(trial, self._allowed(missing), tell):
            done += 1
            self.progress(text, done, len(numbers))
            stored = trial.crafted(number, target)
            if stored is None:
                raise DataError(
                    f"expected what was crafted in {trial.own}, got none of batch {number}; repeat the command"
                )
            known[number] = stored
            self._count([stored])
        self.check(more=len(known) < len(numbers))
        return [known[number].inputs for number in numbers]

    def check(self, *, more: bool = False) -> None:
        """End the search if more was spent than allowed, or as much and there is ``more`` to do.

        Raises:
            LimitReached: if so.
        """
        most, spent = self.limits.queries, self.passes + self.records.runs
        if most is not None and (spent > most or (more and spent >= most)):
            raise LimitReached("queries")

    def _allowed(self, missing: Sequence[int]) -> Iterator[int]:
        """Yield batches while there is something left to spend."""
        for number in missing:
            if self.limits.queries is not None and self.passes + self.records.runs >= self.limits.queries:
                return
            yield number

    def _count(self, batches: Iterable[CraftedBatch]) -> None:
        self.passes += sum(int(one.forwards.sum() + one.backwards.sum()) for one in batches)


def _settings(asked: CapRequest, plan: Plan) -> dict[str, Any]:
    names = ("attacks", "norm", "eps", "steps", "limit", "seed", "inputs", "data_dir", "rule")
    return {
        "quantities": list(asked.limits),
        "utility_loss": asked.utility_loss,
        "utility": asked.utility,
        "kinds": None if asked.kinds is None else list(asked.kinds),
        "exhaustive": asked.exhaustive,
        **{name: value for name, value in plan.to_json().items() if name in names},
    }


def _write(result: CapRecommendation, batches: Sequence[Batch], out: Path) -> None:
    """Write the result as JSON, and what is known of each sample under each choice of caps as Parquet."""
    index = torch.cat([batch.index for batch in batches]).tolist()
    parts = [_table(result.search, one, index) for one in result.search.every]
    if parts:
        save_table(out / RECORDS, out / f"{RECORDS}.{os.getpid()}.partial", pa.concat_tables(parts))
    write_atomically(out / FILE, json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n")


def _table(search: CapSearch, one: CapEvidence, index: Sequence[int]) -> pa.Table:
    nothing, known = [None] * len(index), bool(one.costs)
    return pa.table(
        {
            "sample": pa.array(index, pa.int64()),
            "caps": pa.array([one.choice.name] * len(index), pa.string()),
            "cost_clean": search.records.cost,
            "cost_own": one.own,
            "utility_clean": search.free.utility,
            "utility": one.utility,
            "cost": pa.array(one.least if known else nothing, pa.float64()),
            "cost_most": pa.array(one.most if known else nothing, pa.float64()),
            "cost_static": one.static,
            "crafted_through": pa.array([name or None for name in one.through], pa.string()),
        }
    )
