"""From an attack's result to per-sample records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.audits.plan import Cell
from torpor.audits.store import records_table
from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.objects import frames_of, to_json
from torpor.core.outcome import Outcome
from torpor.core.records import Record
from torpor.core.space import VideoSpace
from torpor.core.text import TextSpace, levenshtein
from torpor.core.work import Work
from torpor.data.sets import Batch
from torpor.metrics.distances import distances
from torpor.metrics.headroom import SLACK, headroom
from torpor.metrics.loops import i_loops
from torpor.metrics.slowdown import slowdown
from torpor.targets.base import Target
from torpor.targets.candidates import clean_recall

_COLUMNS = tuple(Record.__annotations__)


@dataclass(frozen=True, eq=False)
class Clean:
    """A batch as it is without attack and defense: what every row of the batch is compared with.

    Attributes:
        target: without any defense.
        batch: what was read.
        inputs: as the target takes them.
        outcome: of running them.
    """

    target: Target
    batch: Batch
    inputs: Samples
    outcome: Outcome


def clean_rows(clean: Clean, target: Target, cell: Cell, own: Outcome) -> pa.Table:
    """Return the records of the clean inputs, run on ``target``: the undefended one, or one behind a defense."""
    nothing = np.zeros(len(clean.batch), dtype=int)
    spent = _away(target, clean.inputs, clean.inputs, None) | {"forwards": nothing, "backwards": nothing}
    return _rows(clean, target, cell, own, own, target.max_work(clean.inputs), spent)


def attacked_rows(
    clean: Clean, target: Target, cell: Cell, own: Outcome, result: AttackResult, through: Sequence[str | None] = ()
) -> pa.Table:
    """Return the records of one attack on one batch, run on ``target``.

    Args:
        clean: the batch without attack and defense.
        target: what was attacked.
        cell: which row of the summary this is.
        own: of running the clean inputs on ``target``.
        result: of the attack.
        through: for each sample the defense through which its input was crafted, if not through ``target`` itself.
    """
    found = result.candidates
    spent: dict[str, Any] = {
        **_away(target, result.clean_inputs, result.inputs, cell.budget),
        "forwards": found.forwards.cpu().numpy(),
        "backwards": found.backwards.cpu().numpy(),
        "zero_gradient": _flags(found.zero_gradient),
        "moved": result.moved.cpu().to(torch.float64).numpy(),
        "loss_fell": _flags(found.loss_fell),
        "black_box_won": _flags(found.black_box_won),
        "found_through": list(through) or None,
    }
    return _rows(clean, target, cell, own, result.attacked, result.static, spent)


def _flags(values: Tensor | None) -> list[bool] | None:
    return None if values is None else values.cpu().tolist()


def _away(target: Target, clean: Samples, inputs: Samples, budget: Budget | None) -> dict[str, Any]:
    """Return how far each input is from its clean twin, in the measures of its space."""
    space = target.space
    if not isinstance(space, TextSpace):
        away = distances(clean, inputs, per_frame=isinstance(space, VideoSpace))
        return {name: getattr(away, name).cpu().numpy() for name in ("linf", "l2", "l1")}
    pairs = list(zip(clean, inputs, strict=True))
    norm = budget.norm if budget else "chars"
    alike = [1 - levenshtein(one, other) / max(len(one), len(other)) for one, other in pairs]
    return {"edits": [space.distance(one, other, norm) for one, other in pairs], "similarity": alike}


def _rows(
    clean: Clean, target: Target, cell: Cell, own: Outcome, outcome: Outcome, static: Work, spent: dict[str, Any]
) -> pa.Table:
    batch, free = clean.batch, clean.target
    count = len(batch)
    flops_clean = free.prices.cost(clean.outcome.work).numpy()
    flops_own, flops = (target.prices.cost(each.work).numpy() for each in (own, outcome))
    flops_static = target.prices.cost(static).numpy()
    _check_bound(target, float(flops_static.max()))
    columns: dict[str, Any] = {
        "sample": batch.index.numpy(),
        "attack": [cell.attack] * count,
        "defense": [cell.defense] * count,
        "attacker": [cell.attacker] * count,
        "norm": [cell.budget.norm if cell.budget else None] * count,
        "eps": [cell.budget.eps if cell.budget else None] * count,
        "flops_clean": flops_clean,
        "flops_own": flops_own,
        "flops": flops,
        "flops_static": flops_static,
        "slowdown": slowdown(flops, flops_clean),
        "headroom": _defined(_taken(headroom(flops, flops_own, flops_static), own, outcome)),
        "work": outcome.work.counts.tolist(),
        "utility_clean": _defined(free.utility(clean.outcome.outputs, batch.references)),
        "utility": _defined(target.utility(outcome.outputs, batch.references)),
        "cut": batch.cut,
        "agreement": target.agreement(outcome.outputs, clean.outcome.outputs).numpy(),
        "refused": None if outcome.refused is None else outcome.refused.cpu().numpy(),
        **_family(clean, target, outcome, static),
        **spent,
    }
    fell = columns.get("loss_fell")
    stuck = None if fell is None else (np.array(fell) & (flops <= flops_own) & (flops < flops_static))
    columns["stuck"] = stuck
    nothing = [None] * count
    return records_table({name: nothing if columns.get(name) is None else columns[name] for name in _COLUMNS})


def _check_bound(target: Target, most: float) -> None:
    """Refuse inputs that are allowed to cost more than the bound of all inputs that the target accepts.

    Raises:
        UsageError: if so.
    """
    bound = float(target.prices.cost(target.static_work()).item())
    if most > bound * (1 + SLACK):
        raise UsageError(
            f"expected a static bound of {target.name} that covers every {target.space.accepts}, got {bound:,.0f} "
            f"FLOPs where an input may cost {most:,.0f}; correct static_work, or let the space refuse such inputs"
        )


def _taken(
    headrooms: np.ndarray[Any, np.dtype[np.float64]], own: Outcome, outcome: Outcome
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return what attackers took where a defense refuses inputs: no less than 0, and NaN behind a false alarm.

    What is refused early costs less than its clean twin, which is no gain to report below 0. A clean input that is
    refused itself costs next to nothing, so that any twin that passes would seem to take it all.
    """
    if own.refused is None or outcome.refused is None:
        return headrooms
    taken = np.where(outcome.refused.cpu().numpy(), np.maximum(headrooms, 0), headrooms)
    return np.where(own.refused.cpu().numpy(), np.nan, taken)


def _family(clean: Clean, target: Any, outcome: Outcome, static: Work) -> dict[str, Any]:  # noqa: ANN401
    """Return the columns that only this kind of target has."""
    batch, before = clean.batch, clean.outcome
    if target.offers("detector"):
        return _objects(batch, before, outcome)
    if target.offers("exits"):
        return {
            "exit": target.exits(outcome.work).numpy(),
            "reference": batch.references.numpy() if len(batch.references) else None,
        }
    free: Any = clean.target
    steps, steps_clean = target.iterations(outcome.work).numpy(), free.iterations(before.work).numpy()
    return {
        "steps": steps,
        "steps_clean": steps_clean,
        "i_loops": i_loops(steps, steps_clean),
        "cap": target.iterations(static).numpy(),
        "capped": [output.capped for output in outcome.outputs],
        "capped_clean": [output.capped for output in before.outputs],
        "output": [output.text for output in outcome.outputs],
        "reference_text": list(batch.references) or None,
    }


def _objects(batch: Batch, clean: Outcome, outcome: Outcome) -> dict[str, Any]:
    """Return what was found, in a picture, or is followed through the frames of a video."""
    before, after = (
        [[each.followed() for each in frames_of(found)] for found in side.outputs] for side in (clean, outcome)
    )
    recall = [clean_recall(*pair) for pair in zip(after, before, strict=True)]
    return {
        "kept_clean": [sum(map(len, frames)) for frames in before],
        "kept": [sum(map(len, frames)) for frames in after],
        "clean_recall": _defined(torch.tensor(recall, dtype=torch.float64)),
        "found": list(map(to_json, outcome.outputs)),
        "truth": list(map(to_json, batch.references)) or None,
    }


def _defined(values: np.ndarray[Any, np.dtype[np.float64]] | Tensor) -> list[float | None]:
    """Return numbers, None where there are none."""
    return [None if math.isnan(value) else value for value in values.tolist()]
