"""What is kept of a batch: per-sample records, and inputs for the clock and for people to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.attacks.search.incumbent import Curve
from torpor.audits.conditions import RowKey
from torpor.audits.run.store import Store, records_table
from torpor.core.batches import Samples, join, take
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.files import require_file, save_tensors, texts_beside
from torpor.core.space import DenseSpace, VideoSpace
from torpor.core.units import symbol
from torpor.core.work import Outcome, Work
from torpor.data.sets import Batch
from torpor.metrics.distances import distances
from torpor.metrics.headroom import SLACK, headroom, taken
from torpor.metrics.slowdown import slowdown
from torpor.targets.base import Target
from torpor.targets.family import Ran

FIRST = 16
COSTLIEST = 8


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


def clean_rows(clean: Clean, target: Target, key: RowKey, own: Outcome) -> pa.Table:
    """Return the records of the clean inputs, run on ``target``: the undefended or a defended one."""
    nothing = np.zeros(len(clean.batch), dtype=int)
    spent = _away(target, clean.inputs, clean.inputs, None) | {"forwards": nothing, "backwards": nothing}
    return _rows(clean, target, key, own, own, target.max_work(clean.inputs), spent)


def attacked_rows(
    clean: Clean, own: Ran[Target], key: RowKey, result: AttackResult, through: Sequence[str | None] = ()
) -> pa.Table:
    """Return the records of one attack on one batch.

    Args:
        clean: the batch without attack and defense.
        own: the clean inputs on what was attacked; the same object for each attack, so that signals are run once.
        key: which row of the summary this is.
        result: of the attack.
        through: for each sample the defense through which its input was crafted, if not through the target itself.
    """
    target, found = own.target, result.candidates
    after = Ran(target, result.inputs, result.attacked)
    spent: dict[str, Any] = {
        **_away(target, result.clean_inputs, result.inputs, key.budget),
        "forwards": found.forwards.cpu().numpy(),
        "backwards": found.backwards.cpu().numpy(),
        "zero_gradient": _flags(found.zero_gradient),
        "budget_used": result.budget_used.cpu().to(torch.float64).numpy(),
        "loss_fell": _flags(found.loss_fell),
        "black_box_won": _flags(found.black_box_won),
        "found_through": list(through) or None,
        "search_cost": None if found.bills is None else list(map(math.fsum, found.bills)),
        "curve": None if result.curves is None else [_points(curve) for curve in result.curves],
        **(target.family.locate(own, after, key.budget) if key.budget and not target.moves else {}),
    }
    return _rows(clean, target, key, own.outcome, result.attacked, result.static, spent)


def _points(curve: Curve) -> list[dict[str, Any]]:
    """Return a curve as the records hold it; null where no ensemble has members."""
    return [point._asdict() | {"member": point.member or None} for point in curve]


def _flags(values: Tensor | None) -> list[bool] | None:
    return None if values is None else values.cpu().tolist()


def _away(target: Target, clean: Samples, inputs: Samples, budget: Budget | None) -> dict[str, Any]:
    """Return how far each input is from its clean version, in the measures of its space."""
    space = target.space
    if isinstance(space, DenseSpace):
        away = distances(clean, inputs, per_frame=isinstance(space, VideoSpace))
        return {name: getattr(away, name).cpu().numpy() for name in ("linf", "l2", "l1")}
    from torpor.core.text import TextSpace, levenshtein

    assert isinstance(space, TextSpace)
    pairs = list(zip(clean, inputs, strict=True))
    norm = budget.norm if budget else "chars"
    alike = [1 - levenshtein(one, other) / max(len(one), len(other)) for one, other in pairs]
    return {"edits": [space.distance(one, other, norm) for one, other in pairs], "similarity": alike}


def _rows(
    clean: Clean, target: Target, key: RowKey, own: Outcome, outcome: Outcome, static: Work, spent: dict[str, Any]
) -> pa.Table:
    batch, free = clean.batch, clean.target
    count = len(batch)
    cost_clean = free.prices.cost(clean.outcome.work).numpy()
    cost_own, cost = (target.prices.cost(each.work).numpy() for each in (own, outcome))
    cost_static = target.prices.cost(static).numpy()
    _check_bound(target, float(cost_static.max()))
    fell = spent.pop("loss_fell", None)
    columns: dict[str, Any] = {
        "sample": batch.index.numpy(),
        **{name: [value] * count for name, value in key.to_json().items()},
        "tampering": [key.condition.tampering] * count,
        "cost_clean": cost_clean,
        "cost_own": cost_own,
        "cost": cost,
        "cost_static": cost_static,
        "slowdown": slowdown(cost, cost_clean),
        "headroom": taken(headroom(cost, cost_own, cost_static), _rejected(own), _rejected(outcome)),
        "work": outcome.work.counts.tolist(),
        "work_static": static.counts.tolist(),
        "utility_clean": free.utility(clean.outcome.outputs, batch.references),
        "utility": target.utility(outcome.outputs, batch.references),
        "cut": batch.cut,
        "agreement": target.agreement(outcome.outputs, clean.outcome.outputs),
        "rejected": outcome.rejected,
        "surrogate_diverged": None if fell is None else np.array(fell) & (cost <= cost_own) & (cost < cost_static),
        **spent,
        **target.family.observe(target, clean.outcome, outcome, static, batch.references),
    }
    return records_table(columns, count, target.family.measures)


def _check_bound(target: Target, most: float) -> None:
    """Refuse inputs that are allowed to cost more than the bound of all inputs that the target accepts.

    Raises:
        UsageError: if so.
    """
    bound = float(target.prices.cost(target.static_work()).item())
    if most > bound * (1 + SLACK):
        raise UsageError(
            f"expected a static bound of {target.name} that covers every {target.space.accepts}, got {bound:,.0f} "
            f"{symbol(target.prices.currency)} where an input may cost {most:,.0f}; correct static_work, or let the "
            "space refuse such inputs"
        )


def _rejected(outcome: Outcome) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    return None if outcome.rejected is None else outcome.rejected.cpu().numpy()


def pick_examples(clean: Clean, target: Target, result: AttackResult) -> dict[str, Samples]:
    """Return the examples of one batch: its first ``FIRST`` samples, and its ``COSTLIEST``."""
    batch, before = clean.batch, clean.outcome
    cost = target.prices.cost(result.attacked.work) / clean.target.prices.cost(before.work)
    keep = torch.arange(len(batch.index)) < FIRST
    keep[cost.argsort(descending=True, stable=True)[:COSTLIEST]] = True
    found: dict[str, Samples] = {
        "index": batch.index[keep],
        "clean": target.space.to_bytes(take(result.clean_inputs, keep)),
        "attacked": target.space.to_bytes(take(result.inputs, keep)),
        "slowdown": cost[keep],
    }
    found |= stored_references(take(batch.references, keep) if len(batch.references) else ())
    for side, on, outcome in (("clean", clean.target, before), ("attacked", target, result.attacked)):
        own = target.family.example(on, outcome)
        found |= {f"{side}_{name}": take(values, keep) for name, values in own.items()}
    return found


def stored_references(references: Samples) -> dict[str, Samples]:
    """Return classes or texts as ``reference``; nothing where there are none.

    Nothing of objects, either: they differ in number, and records hold them.
    """
    if isinstance(references, Tensor):
        return {"reference": references}
    return {"reference": references} if references and isinstance(references[0], str) else {}


def first_of(index: Samples) -> Tensor:
    """Tell which samples are the ``FIRST`` of an audit, bool ``[N]``, whatever number it begins with.

    >>> first_of(torch.arange(40, 60)).sum().item()
    16
    """
    numbers = torch.as_tensor(index)
    found = torch.zeros(len(numbers), dtype=torch.bool)
    found[numbers.argsort(stable=True)[:FIRST]] = True
    return found


def gather_examples(store: Store, slug: str) -> dict[str, Samples]:
    """Merge one row's examples of all shards, holding at most one shard's more than what is kept."""
    kept: dict[str, Samples] = {}
    for found in store.examples():
        mine = f"{slug}/"
        part = {name.removeprefix(mine): value for name, value in found.items() if name.startswith(mine)}
        kept = {field: join((kept[field], value)) for field, value in part.items()} if kept else part
        keep = first_of(kept["index"])
        keep[kept["slowdown"].argsort(descending=True, stable=True)[:COSTLIEST]] = True
        kept = {field: take(value, keep) for field, value in kept.items()}
    return kept


def write_examples(store: Store, slugs: list[str]) -> None:
    """Write ``examples/SLUG.safetensors`` for each row, and its texts beside it."""
    for slug in slugs:
        store.verify()
        save_examples(store.folder / "examples" / f"{slug}.safetensors", gather_examples(store, slug))


def save_examples(path: Path, examples: Mapping[str, Samples]) -> tuple[Path, ...]:
    """Write examples: tensors as safetensors to ``path``, texts as Parquet beside it, where there are any.

    Args:
        path: of the tensors.
        examples: tensors and tuples of texts by name; ``index`` is there.

    Returns:
        The files that were written.

    Raises:
        OSError: if they cannot be written.
        UsageError: if a text cannot be written as UTF-8.
    """
    tensors = {name: values for name, values in examples.items() if isinstance(values, Tensor)}
    texts = {name: values for name, values in examples.items() if name not in tensors}
    if texts:
        from torpor.audits.texts import save_texts

        save_texts(path, tensors["index"].tolist(), texts)
    save_tensors(path, tensors)
    return (path, texts_beside(path)) if texts else (path,)


def load_examples(path: Path) -> dict[str, Samples]:
    """Return what :func:`save_examples` wrote: tensors, and texts as tuples.

    Raises:
        DataError: if ``path`` is no file.
    """
    found: dict[str, Samples] = load_file(require_file(path))
    if texts_beside(path).exists():
        from torpor.audits.texts import load_texts

        found |= load_texts(path)
    return found
