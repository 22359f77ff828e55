"""Attacked inputs worth keeping: the first of an audit, for the clock, and the costliest, for people to look at."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.audits.run.rows import Clean
from torpor.audits.run.store import Store, save_tensors
from torpor.core.batches import Samples, take
from torpor.core.text import pack
from torpor.targets.base import Target

FIRST = 16
COSTLIEST = 8


def pick(clean: Clean, target: Target, result: AttackResult) -> dict[str, Tensor]:
    """Return the examples of one batch: samples among the ``FIRST`` of the audit, and the batch's own ``COSTLIEST``."""
    batch, before = clean.batch, clean.outcome
    cost = target.prices.cost(result.attacked.work) / clean.target.prices.cost(before.work)
    keep = batch.index < FIRST
    keep[cost.argsort(descending=True, stable=True)[:COSTLIEST]] = True
    found = {
        "index": batch.index[keep],
        "clean": target.space.to_bytes(take(result.clean_inputs, keep)).cpu(),
        "attacked": target.space.to_bytes(take(result.inputs, keep)).cpu(),
        "slowdown": cost[keep],
    }
    found |= stored_references(take(batch.references, keep) if len(batch.references) else ())
    for side, on, outcome in (("clean", clean.target, before), ("attacked", target, result.attacked)):
        own = target.family.example(on, outcome)
        found |= {f"{side}_{name}": values[keep] for name, values in own.items()}
    return found


def stored_references(references: Samples) -> dict[str, Tensor]:
    """Return classes as they are and texts packed as ``reference``; nothing where there are none.

    Nothing of objects, either: they differ in number, and records hold them.
    """
    if isinstance(references, Tensor):
        return {"reference": references}
    return {"reference": pack(references)} if references and isinstance(references[0], str) else {}


def gather(store: Store, slug: str) -> dict[str, Tensor]:
    """Merge one row's examples of all shards, holding at most one shard's more than what is kept."""
    kept: dict[str, Tensor] = {}
    for tensors in store.examples():
        mine = f"{slug}/"
        part = {name.removeprefix(mine): value for name, value in tensors.items() if name.startswith(mine)}
        kept = {field: torch.cat([kept[field], value]) for field, value in part.items()} if kept else part
        keep = kept["index"] < FIRST
        keep[kept["slowdown"].argsort(descending=True, stable=True)[:COSTLIEST]] = True
        kept = {field: value[keep] for field, value in kept.items()}
    return kept


def write(store: Store, slugs: list[str]) -> None:
    """Write ``examples/SLUG.safetensors`` for each row."""
    for slug in slugs:
        store.verify()
        save_tensors(store.folder / "examples" / f"{slug}.safetensors", gather(store, slug))
