"""Run an audit: batch by batch, shard by shard, so that a kill at any point loses at most one batch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult, costlier, resent
from torpor.attacks.control_sets import free_controls, matched_controls
from torpor.attacks.universal import Learned, Universal
from torpor.audits import examples
from torpor.audits.claim import claimed
from torpor.audits.conditions import ADAPTIVE, NON_ADAPTIVE, Condition, RowKey
from torpor.audits.digest import seal
from torpor.audits.identity import REPAIRABLE, Identity, identify
from torpor.audits.plan import Plan
from torpor.audits.rows import Clean, attacked_rows, clean_rows
from torpor.audits.source import source
from torpor.audits.store import Store, save_tensors, write_atomically
from torpor.audits.summary import summarize
from torpor.audits.transfer import Transfer
from torpor.core.budget import Budget
from torpor.core.errors import DataError, DefenseError, TorporError, UsageError
from torpor.core.files import require_file
from torpor.data.sets import Batch, DataSet
from torpor.defenses.base import LEARNED
from torpor.defenses.pairs import training_pairs
from torpor.defenses.registry import load_defense
from torpor.targets.base import Target

PASSES = 3
"""How often the data are read at most, for batches that somebody deleted while others were attacked."""


@dataclass(frozen=True, eq=False)
class Front:
    """A target as the audit meets it, undefended or behind a defense, and the attacks on it.

    Attributes:
        target: what is attacked.
        attacks: those of each budget, fitted on this very target.
        defense: its name.
    """

    target: Target
    attacks: list[tuple[Budget, list[Attack]]]
    defense: str = "none"


Progress = Callable[[str, int, int], None]
"""Called with what is going on, attacks done, and attacks in all (0 if unknown)."""


def run_audit(plan: Plan, target: Target, out: Path, progress: Progress = lambda text, done, total: None) -> Path:
    """Run ``plan`` on ``target`` into the folder ``out``, or go on where an interrupted run of the same plan stopped.

    Args:
        plan: what to do.
        target: what ``plan.target`` names, on the plan's device.
        out: folder of the audit.
        progress: told of every batch and attack.

    Returns:
        The path of ``audit.json``.

    Raises:
        UsageError: if ``out`` cannot be written, is held by another process, or holds something else.
        DataError: if the data cannot be read; what was computed before stays.
        DefenseError: if a defense cannot be fitted.
    """
    plan = plan.on(target)
    for budget in plan.budgets:
        for attack in plan.attacks_at(budget):
            attack.check(target)
    defenses = [load_defense(name) for name in plan.defenses]
    for defense in defenses:
        defense.check(target)
    names = [defense.name for defense in defenses]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"expected different defenses, got {twice[0]} twice; leave one out")
    data = source(target, plan.data_dir, plan.inputs)
    identity = identify(plan, target, data)
    with claimed(plan.to_json() | identity.entries(), out, REPAIRABLE) as claim:
        store = Store(out, target.family.measures, claim.lock.verify)
        if claim.complete:
            store.clear()
            return out / "audit.json"
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return _run(plan, target, data, store, identity, progress)


def _run(plan: Plan, target: Target, data: DataSet, store: Store, identity: Identity, progress: Progress) -> Path:
    """Attack what is not attacked yet, then sum up."""
    free = Front(target, [(budget, _fitted(plan, target, data, store, budget)) for budget in plan.budgets])
    fronts = [_front(plan, name, free, data, store, progress) for name in plan.defenses]
    training_pairs.cache_clear()  # or they would live as long as the process
    rows = len(plan.keys) - 1  # the clean one takes no time
    total = rows * (-(-plan.limit // plan.batch_size) + 1) + 1 if plan.limit else 0  # each is timed at the end
    number = read = 0
    for _ in range(PASSES):
        number = read = 0
        for batch in data.batches("test", plan.batch_size, plan.limit):
            if not store.has(number, batch.index.tolist() * len(plan.keys), batch.digest()):
                before = number * rows
                tell = lambda text, row, before=before: progress(text, before + row, total)  # noqa: E731
                _attack_batch(plan, free, fronts, batch, store, number, tell)
            number, read = number + 1, read + len(batch)
            del batch  # or it would live until the next one is read
        if not store.lost(number):
            break  # else somebody deleted shards meanwhile
    if number == 0:
        raise DataError(f"expected test samples in {data.name}, got none")
    store.merge(number)
    examples.write(store, [key.slug for key in plan.keys if key.budget])
    targets = {front.defense: front.target for front in (free, *fronts)}
    audit = summarize(plan, targets, data, store, lambda row: progress("timing", number * rows + row, total))
    if wrong := [row for row in audit["summary"] if row["n"] != read]:
        raise DataError(
            f"expected {read} samples in each row, got {wrong[0]['n']} of {wrong[0]['attack']}; delete "
            f"{store.shards} and repeat the command"
        )
    audit |= {"samples": {"limit": plan.limit, "read": read, "batches": number}, "identity": identity.to_json()}
    path = store.folder / "audit.json"
    store.verify()
    sealed = seal(audit, store.folder / "records.parquet")
    write_atomically(path, json.dumps(sealed, indent=1, allow_nan=False) + "\n")
    store.clear()
    return path


def _front(plan: Plan, name: str, free: Front, data: DataSet, store: Store, progress: Progress) -> Front:
    """Put a defense in front of the target, and fit what must be fitted anew: attackers know of it."""
    progress(f"fitting {name}", 0, 0)
    known = [attack for _, attacks in free.attacks for attack in attacks]
    try:
        prepared = load_defense(name).prepared(free.target, data, known, plan.seed, plan.limit or LEARNED)
    except TorporError as error:
        raise DefenseError(name, str(error)) from error
    defended = prepared.defend(free.target)
    attacks = [(budget, _fitted(plan, defended, data, store, budget, name)) for budget in plan.budgets]
    return Front(defended, attacks, name)


def _fitted(
    plan: Plan, target: Target, data: DataSet, store: Store, budget: Budget, defense: str = "none"
) -> list[Attack]:
    """Return the plan's attacks at one budget; those that learn are fitted on validation data, once per audit."""
    attacks = []
    for attack in plan.attacks_at(budget):
        if not isinstance(attack, Universal):
            attacks.append(attack)
            continue
        key = RowKey(attack.name, budget, Condition(defense, attacker=None if defense == "none" else ADAPTIVE))
        path = store.folder / "fitted" / f"{key.slug}.safetensors"
        learned = _saved(path, target.device)
        if learned is None:
            begin = time.perf_counter()
            fitted = attack.fitted(target, data, plan.seed)
            learned = fitted.learned
            assert learned is not None
            numbers = {"forwards": learned.forwards, "backwards": learned.backwards, "blind": int(learned.blind)}
            tensors = {name: torch.tensor(value) for name, value in numbers.items()}
            seconds = time.perf_counter() - begin
            store.verify()
            path.parent.mkdir(exist_ok=True)
            write_atomically(path.with_suffix(".json"), json.dumps({"seconds": seconds}))
            save_tensors(path, {"perturbations": learned.perturbations, **tensors})
        attacks.append(replace(attack, learned=learned))
    return attacks


def _saved(path: Path, device: torch.device) -> Learned | None:
    """Return what is in ``path``; None if there is nothing, or the file is damaged."""
    try:
        found = load_file(require_file(path))
        return Learned(
            found["perturbations"].to(device), int(found["forwards"]), int(found["backwards"]), bool(found["blind"])
        )
    except (DataError, OSError, KeyError, SafetensorError):
        return None


def _attack_batch(
    plan: Plan,
    free: Front,
    fronts: list[Front],
    batch: Batch,
    store: Store,
    number: int,
    tell: Callable[[str, int], None],
) -> None:
    """Attack one batch in every way and write its shard."""
    inputs = free.target.space.check(free.target.read(batch.inputs))
    clean = Clean(free.target, batch, inputs, free.target.run(inputs))
    tables = {RowKey("clean"): clean_rows(clean, free.target, RowKey("clean"), clean.outcome)}
    references = batch.references if len(batch.references) else None
    kept: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}

    own = {front.defense: front.target.run(inputs) for front in fronts} | {free.defense: clean.outcome}

    def keep(front: Front, key: RowKey, result: AttackResult, through: Sequence[str | None] = ()) -> None:
        tables[key] = attacked_rows(clean, front.target, key, own[front.defense], result, through)
        found = examples.pick(clean, front.target, result)
        kept.update({f"{key.slug}/{field}": value for field, value in found.items()})
        seconds[key.slug] = result.seconds

    def attack(front: Front, one: Attack, attacker: str | None = None) -> AttackResult:
        tell(RowKey(one.name, one.budget, Condition(front.defense, attacker=attacker)).slug, len(seconds))
        return one(front.target, inputs, references=references, seed=plan.seed)

    def key_of(one: Attack) -> RowKey:
        return RowKey(one.name, one.budget)

    best: dict[RowKey, Transfer] = {}
    for budget, wanted in free.attacks:
        results = [attack(free, one) for one in wanted]
        best.update((key_of(one), Transfer(free.target, found)) for one, found in zip(wanted, results, strict=True))
        for control in (*free_controls(budget), *matched_controls(budget, free.target, wanted, results)):
            keep(free, key_of(control), attack(free, control))
    for front in fronts:
        clean_key = RowKey("clean", None, Condition(front.defense))
        tell(f"clean behind {front.defense}", len(seconds))
        tables[clean_key] = clean_rows(clean, front.target, clean_key, own[front.defense])
        seconds[clean_key.slug] = 0.0
        for one in (one for _, wanted in front.attacks for one in wanted):
            known = best[key_of(one)]
            sent = resent(known.own, front.target)
            keep(front, RowKey(one.name, one.budget, Condition(front.defense, attacker=NON_ADAPTIVE)), sent)
            crafted = costlier(front.target, attack(front, one, ADAPTIVE), sent)
            keep(front, RowKey(one.name, one.budget, Condition(front.defense, attacker=ADAPTIVE)), crafted)
            known.offer(crafted, front.defense)
    for key, found in best.items():
        keep(free, key, found.result, found.through)
    store.write(number, pa.concat_tables(tables[key] for key in plan.keys), kept, seconds, batch.digest())
