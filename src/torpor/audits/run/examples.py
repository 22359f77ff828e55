"""Attacked inputs worth keeping: the first of an audit, for the clock, and the costliest, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.audits.run.rows import Clean
from torpor.audits.run.store import Store, save_tensors
from torpor.audits.texts import load_texts, save_texts, texts_beside
from torpor.core.batches import Samples, join, take
from torpor.core.files import require_file
from torpor.targets.base import Target

FIRST = 16
COSTLIEST = 8


def pick(clean: Clean, target: Target, result: AttackResult) -> dict[str, Samples]:
    """Return the examples of one batch: samples among the ``FIRST`` of the audit, and the batch's own ``COSTLIEST``."""
    batch, before = clean.batch, clean.outcome
    cost = target.prices.cost(result.attacked.work) / clean.target.prices.cost(before.work)
    keep = batch.index < FIRST
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


def gather(store: Store, slug: str) -> dict[str, Samples]:
    """Merge one row's examples of all shards, holding at most one shard's more than what is kept."""
    kept: dict[str, Samples] = {}
    for found in store.examples():
        mine = f"{slug}/"
        part = {name.removeprefix(mine): value for name, value in found.items() if name.startswith(mine)}
        kept = {field: join((kept[field], value)) for field, value in part.items()} if kept else part
        keep = kept["index"] < FIRST
        keep[kept["slowdown"].argsort(descending=True, stable=True)[:COSTLIEST]] = True
        kept = {field: take(value, keep) for field, value in kept.items()}
    return kept


def write(store: Store, slugs: list[str]) -> None:
    """Write ``examples/SLUG.safetensors`` for each row, and its texts beside it."""
    for slug in slugs:
        store.verify()
        save(store.folder / "examples" / f"{slug}.safetensors", gather(store, slug))


def save(path: Path, examples: Mapping[str, Samples]) -> tuple[Path, ...]:
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
        save_texts(path, tensors["index"].tolist(), texts)
    save_tensors(path, tensors)
    return (path, texts_beside(path)) if texts else (path,)


def load(path: Path) -> dict[str, Samples]:
    """Return what :func:`save` wrote: tensors, and texts as tuples.

    Raises:
        DataError: if ``path`` is no file.
    """
    return {**load_file(require_file(path)), **load_texts(path)}
