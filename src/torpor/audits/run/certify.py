"""The bounds of a plan on a batch: the most work that any input within the budget can cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from torpor.audits.conditions import RowKey
from torpor.audits.plan import Plan
from torpor.audits.run.fronts import Front
from torpor.audits.run.store import schema_of, table_of
from torpor.bounds.base import SLACK, Bound
from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.records import CERTIFIED
from torpor.core.work import Work
from torpor.metrics.slowdown import slowdown
from torpor.targets.base import Target


@dataclass(frozen=True, eq=False)
class Certificate:
    """The tightest of several bounds for each sample of a batch.

    Attributes:
        work: most runs of each unit, int64 ``[B, U]``.
        cost: of them, float64 ``[B]``.
        by: specification of the bound that is the least, for each sample.
    """

    work: Work
    cost: torch.Tensor
    by: tuple[str, ...]


Certificates = Mapping[tuple[str, Budget | None], Certificate]
"""By defense and budget; those that no bound covers are left out."""


def certificates(plan: Plan, fronts: Sequence[Front], inputs: Samples) -> Certificates:
    """Return what the plan's bounds certify of a batch for each budget, undefended and defended.

    Args:
        plan: of the audit.
        fronts: the undefended target, then one for each defense.
        inputs: the clean inputs, as the target takes them.

    Raises:
        UsageError: if a bound counts other units than the target has.
    """
    bounds = dict(zip(plan.bounds, plan.loaded_bounds(), strict=True))
    found = dict[tuple[str, Budget | None], Certificate]()
    for front in fronts:
        bare = front.defense == "none"
        own = {name: bound for name, bound in bounds.items() if bare or _covers(bound, front.target)}
        for budget in plan.budgets if own else ():
            found[front.defense, budget] = _tightest(own, front.target, inputs, budget)
    return found


def certified(known: Certificates, tables: Mapping[RowKey, pa.Table]) -> dict[RowKey, pa.Table]:
    """Return the records of a batch with the columns of bounds behind all others, null where none covers the row."""
    return {key: _appended(table, known.get((key.condition.defense, key.budget))) for key, table in tables.items()}


def _covers(bound: Bound, defended: Target) -> bool:
    return bound.covers_defended and bound.applies_to(defended)


def _tightest(bounds: Mapping[str, Bound], target: Target, inputs: Samples, budget: Budget) -> Certificate:
    """Return for each sample the bound that allows it the least cost; the first of equals."""
    works = [bound.unchecked(target, inputs, budget) for bound in bounds.values()]
    costs = torch.stack([target.prices.cost(work) for work in works])
    place, rows = (costs <= costs.amin(0) * (1 + SLACK)).int().argmax(0), torch.arange(len(inputs))
    counts, names = torch.stack([work.counts for work in works])[place, rows], tuple(bounds)
    return Certificate(Work(counts), costs[place, rows], tuple(names[each] for each in place.tolist()))


def _appended(table: pa.Table, found: Certificate | None) -> pa.Table:
    columns = dict[str, Any]()
    if found is not None:
        columns = {
            "certified_work": found.work.counts,
            "certified_cost": found.cost,
            "certified_slowdown": slowdown(found.cost.numpy(), table["cost_clean"].to_numpy()),
            "certified_by": found.by,
        }
    own = table_of(columns, len(table), schema_of(CERTIFIED))
    return pa.table([*table.columns, *own.columns], schema=pa.schema([*table.schema, *own.schema]))
