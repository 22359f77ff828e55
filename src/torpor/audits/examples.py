"""Attacked inputs worth keeping: the first of an audit, for the clock, and the costliest, for people to look at."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.audits.store import Store, save_tensors
from torpor.data.sets import Batch
from torpor.targets.base import Target

FIRST = 16
COSTLIEST = 8
FIELDS = ("index", "clean", "attacked", "reference", "slowdown")


def pick(target: Target, batch: Batch, result: AttackResult) -> dict[str, Tensor]:
    """Return the examples of one batch: samples among the ``FIRST`` of the audit, and the batch's own ``COSTLIEST``."""
    cost = target.prices.cost(result.attacked.work) / target.prices.cost(result.clean.work)
    keep = batch.index < FIRST
    keep[cost.argsort(descending=True, stable=True)[:COSTLIEST]] = True
    return {
        "index": batch.index[keep],
        "clean": target.space.to_bytes(result.clean_inputs.cpu()[keep]),
        "attacked": target.space.to_bytes(result.inputs.cpu()[keep]),
        "reference": batch.references[keep],
        "slowdown": cost[keep],
    }


def gather(store: Store, slug: str) -> dict[str, Tensor]:
    """Merge one row's examples of all shards, holding at most one shard's more than what is kept."""
    kept: dict[str, Tensor] = {}
    for images in store.images():
        part = {field: images[f"{slug}/{field}"] for field in FIELDS}
        kept = {field: torch.cat([kept[field], part[field]]) for field in FIELDS} if kept else part
        keep = kept["index"] < FIRST
        keep[kept["slowdown"].argsort(descending=True, stable=True)[:COSTLIEST]] = True
        kept = {field: value[keep] for field, value in kept.items()}
    return kept


def write(store: Store, slugs: list[str]) -> None:
    """Write ``examples/SLUG.safetensors`` for each row."""
    for slug in slugs:
        save_tensors(store.folder / "examples" / f"{slug}.safetensors", gather(store, slug))
