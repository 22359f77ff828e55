"""The summary of an audit: one row per attack and budget, from records, timings and diagnostics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from torpor.attacks.base import Attack
from torpor.attacks.registry import ATTACKS
from torpor.attacks.search.balls import spendable
from torpor.audits.conditions import NON_ADAPTIVE, RowKey
from torpor.audits.plan import Plan
from torpor.audits.run.flags import Flags
from torpor.audits.run.identity import environment
from torpor.audits.run.rows import FIRST, load_examples
from torpor.audits.run.store import ColumnsOf, Store
from torpor.audits.run.timing import NO_TIME, Spare, modeled_latency, time_pairs, untimed
from torpor.audits.schema import SCHEMA
from torpor.core.batches import Samples
from torpor.core.criteria import Evidence, success_rate
from torpor.core.errors import LimitReachedError
from torpor.core.rows import UNCERTIFIED
from torpor.core.space import DenseSpace
from torpor.data.sets import DataSet
from torpor.meters.calibration import MOST_S
from torpor.metrics.tails import COLUMNS, NULLABLE, benign_percentile, cost_summary
from torpor.targets.base import Target
from torpor.taxonomy import tags_for

if TYPE_CHECKING:
    from torpor.audits.run.certified_rows import CertifiedRows

COMPARED = ("agreement", "cost_clean", "utility_clean", "utility")
"""Columns that tell what a defense did to clean inputs."""
DEGRADED = {
    "changed_rate": "share",
    "changed_cost_ratio": "cost_ratio",
    "utility_loss_mean": "utility_loss",
    "utility_loss_max": "worst_loss",
    "hurt": "hurt",
}
"""Keys of the clean row of a defense, and where they are from."""


def summarize(
    plan: Plan,
    targets: Mapping[str, Target],
    data: DataSet,
    store: Store,
    tell: Callable[[str, int], None] = lambda text, rows: None,
    *,
    deadline: float | None = None,
) -> dict[str, Any]:
    """Return the content of ``audit.json``.

    Args:
        plan: what was done.
        targets: the target with each defense by its name, and the undefended one as ``"none"``.
        data: what it was done with.
        store: where the merged records are.
        tell: called with what is going on, and how many rows are timed.
        deadline: seconds since the epoch until which the clock may be asked; None for as long as that takes.
    """
    target = targets["none"]
    flags = {key: Flags(target.family, store.row(key), store.row(key.clean)) for key in plan.keys}
    proven = _proven(plan, store, target.prices.currency)
    seconds, summary = store.seconds(), []
    first = next((key for key in plan.keys if key.budget), None)
    spare = Spare.of(target, data, deadline)
    for number, key in enumerate(plan.keys):
        tell(f"timing row {number + 1}/{len(plan.keys)}", number)
        pairs = _examples(store, key if key.budget else first) or _some(target, data)
        recorded = _recorded(key, target, targets[key.condition.defense], store.row(key))
        measures = spare.allows(store.row(key)["work"])
        timed = _timed(plan, key, target, targets[key.condition.defense], pairs) if measures else untimed(NO_TIME)
        summary.append(
            {
                "target": target.name,
                **key.to_json(),
                "tampering": key.condition.tampering,
                "eps_spent": spendable(key.budget, target.space) if key.budget else None,
                **_identity(plan.kinds, key.attack, target),
                **recorded,
                **(proven.of(key) if proven else UNCERTIFIED),
                **(_replayed(key, target, pairs) if measures else {}),
                "attack_seconds": sum(seconds[key.slug]) if key.budget else 0.0,
                "no_headroom_rate": flags[key].no_headroom,
                "flags": [
                    *_flags(plan, key, flags),
                    *(["fit-failed"] if _fit_failed(store.folder / "fitted" / f"{key.slug}.json") else []),
                    *target.family.flags(ColumnsOf(store.row(key))),
                    *(proven.flags(key) if proven else ()),
                ],
                **(_fit_cost(store.folder / "fitted" / f"{key.slug}.safetensors")),
                **timed,
                **target.family.from_clock(timed["latency_slowdown"]),
            }
        )
    tell("running natural inputs", len(plan.keys) - 1)
    natural = natural_baseline(target, data, summary[0]["cost_mean"])
    for key, row in zip(plan.keys, summary, strict=True):
        if row["kind"] == "attack" and key == key.undefended and flags[key].below_natural(natural):
            row["flags"].append("natural-tail-above-attack")
    clock = _clock(target, data) if plan.timed and spare.leaves(MOST_S) else None
    for key, row in zip(plan.keys, summary, strict=True):
        units = [unit.name for unit in targets[key.condition.defense].units]
        row["latency_modeled_s"] = modeled_latency(clock, units, store.row(key)["work"])
    config = {key: value for key, value in plan.to_json().items() if key != "torpor"}
    return {
        "schema": SCHEMA,
        "currency": target.prices.currency,
        "config": config | {"split": "test", "rule": target.details().get("rule")},
        "command": plan.command(_shown(store.folder)),
        "target": describe_target(target),
        "units": {name: _units(each) for name, each in targets.items()},
        "measures": [measure.to_json() for measure in target.family.measures],
        "headlines": [headline.to_json() for headline in target.family.headlines(target)],
        "environment": environment(target.device),
        "natural": natural,
        "clock": clock,
        "summary": summary,
    }


def _shown(folder: Path) -> str:
    """Return a folder as it is seen from where torpor runs; of one elsewhere only its name, which tells of no user."""
    here = Path.cwd()
    return folder.resolve().relative_to(here).as_posix() if folder.resolve().is_relative_to(here) else folder.name


def _examples(store: Store, key: RowKey | None) -> dict[str, Samples]:
    """Return the saved inputs of a row; none where nothing was attacked."""
    return {} if key is None else load_examples(store.folder / "examples" / f"{key.slug}.safetensors")


def _some(target: Target, data: DataSet) -> dict[str, Samples]:
    """Return the first clean inputs, as if they were saved."""
    clean = target.read(data.load("test", FIRST).inputs)
    return {"index": torch.arange(len(clean)), "clean": clean}


def _proven(plan: Plan, store: Store, currency: str) -> CertifiedRows | None:
    """Return what bounds certify; None if the plan has none."""
    if not plan.bounds:
        return None
    from torpor.audits.run.certified_rows import CertifiedRows

    return CertifiedRows(plan, store, currency)


def _recorded(key: RowKey, target: Target, defended: Target, table: pa.Table) -> dict[str, Any]:
    """Return the keys of a row that follow from its records."""
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in COLUMNS}
    maybe = {name: columns[name].astype(np.float64) for name in NULLABLE}
    rejected = table["rejected"].fill_null(False).to_numpy(zero_copy_only=False)
    criterion = target.family.success
    own, agrees = table["cost_own"].to_numpy(), columns["agreement"].astype(bool)
    evidence = Evidence(columns["cost"], own, columns["cost_static"], agrees)
    rejects, measures_length = (table[name].null_count == 0 for name in ("rejected", "cut"))
    through = table["found_through"].drop_null().to_pylist()
    return {
        **cost_summary(columns | maybe),
        **target.family.summarize(defended, target, ColumnsOf(table)),
        **_degraded(key, table, rejected),
        "rejected_rate": float(rejected.mean()) if rejects else None,
        "cut_n": int((table["cut"].to_numpy() > 0).sum()) if measures_length else None,
        "success_rate": success_rate(criterion, evidence, rejected),
        "success_criterion": str(criterion),
        "utility_name": target.utility_name,
        "found_through": {name: through.count(name) for name in dict.fromkeys(through)} or None,
    }


def _degraded(key: RowKey, table: pa.Table, rejected: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """Return what a defense did to clean inputs; None for other rows."""
    if key.budget is not None or key.condition.defense == "none":
        return dict.fromkeys(DEGRADED)
    same, *others = (table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in COMPARED)
    from torpor.metrics.degradation import degradation

    found = degradation(same * ~rejected, *others)
    return {name: getattr(found, field) for name, field in DEGRADED.items()}


def _replayed(key: RowKey, target: Target, pairs: Mapping[str, Samples]) -> Mapping[str, Any]:
    """Return what runs of the saved inputs in another setting found; what a defense caps is not to be raised."""
    if key.condition.defense != "none":
        return {}
    return target.family.replay(target, pairs["clean"], pairs["attacked" if key.budget else "clean"])


def _clock(target: Target, data: DataSet) -> dict[str, Any] | None:
    first = next(iter(data.batches("test", 1, 1)))
    return target.family.clock(target, target.read(first.inputs))


def _units(target: Target) -> list[dict[str, Any]]:
    """Return what is counted, in the order of the columns of ``work``, and what one run costs."""
    priced = zip(target.units, target.prices.per_unit, strict=True)
    return [{"name": unit.name, "price": price, "stage": unit.stage or None} for unit, price in priced]


def _flags(plan: Plan, key: RowKey, flags: Mapping[RowKey, Flags]) -> list[str]:
    """Return the flags of a row; controls face the undefended target only, so attacks meet them there alone."""
    if key.budget is None or key.attack not in plan.kinds or key.condition.attacker == NON_ADAPTIVE:
        return ["nothing-to-measure"] if key.budget is not None and flags[key].open == 0 else []
    beside = {
        other.attack: found
        for other, found in flags.items()
        if (other.budget, other.condition.defense) == (key.budget, key.condition.defense)
        and other.attack not in plan.kinds
    }
    return flags[key].compute(beside)


def _timed(plan: Plan, key: RowKey, target: Target, defended: Target, pairs: Mapping[str, Samples]) -> dict[str, Any]:
    """Measure a row; of defended targets only the clean one, or many defenses would be timed longer than attacked."""
    if not plan.timed:
        return untimed("this audit measures no time")
    if key.budget is not None and key.condition.defense != "none":
        return untimed("of a defended target only clean inputs are timed")
    if why := target.family.untimed(target):
        return untimed(why)
    anew: Any = target if target.offers("asked_anew") else None
    try:
        with nullcontext() if anew is None else anew.asked_anew():
            return time_pairs(target, defended, pairs, clean_only=key.budget is None)
    except LimitReachedError as reached:
        return untimed(str(reached))


def _fit_cost(path: Path) -> dict[str, Any]:
    """Return what a universal attack spent on learning; None for attacks that do not learn."""
    if not path.is_file():
        return {"fit_forwards": None, "fit_backwards": None, "fit_seconds": None}
    spent = load_file(path)
    return {
        "fit_forwards": int(spent["forwards"]),
        "fit_backwards": int(spent["backwards"]),
        "fit_seconds": json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["seconds"],
    }


def _fit_failed(path: Path) -> bool:
    """Tell whether what an attack learned raised the cost of no input that it was tried on."""
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("raises") is False


def _identity(kinds: Mapping[str, type[Attack]], attack: str, target: Target) -> dict[str, Any]:
    """Return what kind of row this is, its threat model and its taxonomy tags."""
    if attack == "clean":
        return {"kind": "clean", "behavior": target.behavior.value, "stage": None, "access": None, "tags": {}}
    kind = kinds.get(attack) or ATTACKS.find(attack)
    return {
        "kind": "control" if kind.is_control else "attack",
        "behavior": target.behavior.value,
        "stage": kind.stage.value,
        "access": kind.access_on(target).value,
        "tags": {} if kind.is_control else tags_for(*kind.covered()),
    }


def describe_target(target: Target) -> dict[str, Any]:
    """Return what ``audit.json`` records about the target."""
    return {
        "name": target.name,
        "family": target.family.id,
        "behavior": target.behavior.value,
        "mechanism": target.mechanism,
        "inputs": target.space.kind,
        "accepts": target.space.accepts,
        "input_shape": list(target.space.shape) if isinstance(target.space, DenseSpace) else None,
        "utility_name": target.utility_name,
        "static_cost": target.prices.cost(target.static_work()).item(),
        **({"constant_work": True} if target.constant_work() else {}),
        **target.details(),
    }


def natural_baseline(target: Target, data: DataSet, cost_mean: float) -> dict[str, Any] | None:
    """Run the validation split, which no attack is judged on, and return its 99.9th percentile of cost."""
    if not data.has("validation"):
        return None
    costs = [
        target.prices.cost(target.run(target.read(batch.inputs)).work).numpy()
        for batch in data.batches("validation", 128)
    ]
    cost = np.concatenate(costs)
    worst = benign_percentile(cost)
    return {"split": "validation", "n": len(cost), "cost_p999": worst, "slowdown_p999": worst / cost_mean}
