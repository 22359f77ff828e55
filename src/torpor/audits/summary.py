"""The summary of an audit: one row per attack and budget, from records, timings and diagnostics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.torch import load_file

from torpor.attacks.registry import ATTACKS
from torpor.attacks.standard import Standard
from torpor.audits.environment import environment
from torpor.audits.plan import Plan, slug
from torpor.audits.store import Store
from torpor.audits.timing import time_pairs
from torpor.core.budget import Budget
from torpor.core.criteria import Evidence, PreservesPrediction, Slowdown
from torpor.data.images import ImageSet, to_unit
from torpor.metrics.natural import benign_percentile
from torpor.metrics.summary import COLUMNS, CostSummary
from torpor.targets.base import Target
from torpor.targets.early_exit import EarlyExitTarget
from torpor.taxonomy import tags_for

SCHEMA = "torpor.audit/1"
SUCCESS = Slowdown(2) & PreservesPrediction()
"""What counts as a stealthy success: much dearer, and nobody who reads the output notices."""
MOST = 0.5
"""A diagnostic becomes a flag when it holds for more than this share of the samples that it is about."""
FEW = 0.1
"""Samples below this share do not speak for the row."""
UNUSED = 0.5
"""A budget counts as unused when the typical sample below the static bound was moved by less than this share of it."""


class _Row:
    """What one summary row gathers while the shards stream by."""

    def __init__(self) -> None:
        self.cost = CostSummary()
        self.room = self.zero = self.stuck = self.black = self.samples = self.success = 0
        self.used: list[np.ndarray[Any, np.dtype[np.float64]]] = []

    def update(self, table: pa.Table, budget: Budget | None) -> None:
        columns = {name: table[name].to_numpy(zero_copy_only=False) for name in (*COLUMNS, "exit")}
        self.cost.update(columns | {"headroom": columns["headroom"].astype(np.float64)})
        self.samples += len(table)
        self.success += int(
            SUCCESS(
                Evidence(
                    columns["flops"], columns["flops_clean"], columns["flops_static"], columns["agreement"].astype(bool)
                )
            ).sum()
        )
        below = columns["flops"] < columns["flops_static"]
        self.room += int((columns["flops_clean"] < columns["flops_static"]).sum())
        for name in ("zero", "stuck", "black"):
            column = {"zero": "zero_gradient", "stuck": "stuck", "black": "black_box_won"}[name]
            values = table[column].fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
            setattr(self, name, getattr(self, name) + int(values.sum()))
        if budget is not None:
            moved = columns[{"Linf": "linf", "L2": "l2", "L1": "l1"}[budget.norm]] / budget.eps
            tried = columns["backwards"] + columns["forwards"] > 0
            self.used.append(moved[below & tried & (moved > 0)])

    def flags(self) -> list[str]:
        """Return why not to trust a low cost in this row."""
        used = np.concatenate(self.used) if self.used else np.empty(0)
        found = {
            "dead-gradients": self.zero > MOST * self.samples,
            "budget-unused": len(used) > FEW * self.samples and float(np.median(used)) < UNUSED,
            "surrogate-not-tracking": self.stuck > MOST * max(self.room, 1),
            "black-box-beats-white-box": self.black > FEW * self.samples,
        }
        return [name for name, holds in found.items() if holds]


def summarize(plan: Plan, target: Target, data: ImageSet, store: Store, out: Path) -> dict[str, Any]:
    """Return the content of ``audit.json``."""
    keys: list[tuple[str, Budget | None]] = [("clean", None), *plan.rows]
    rows = [_Row() for _ in keys]
    for table in store.tables():
        for (attack, budget), row in zip(keys, rows, strict=True):
            row.update(_select(table, attack, budget), budget)
    seconds = store.seconds()
    summary = []
    for (attack, budget), row in zip(keys, rows, strict=True):
        name = slug(*plan.rows[0]) if budget is None else slug(attack, budget)
        pairs = load_file(out / "examples" / f"{name}.safetensors")
        summary.append(
            {
                "target": target.name,
                "attack": attack,
                "defense": "none",
                "norm": budget.norm if budget else None,
                "eps": budget.eps if budget else None,
                **_identity(attack, target),
                **row.cost.compute(target.exit_costs if isinstance(target, EarlyExitTarget) else None),
                "success_rate": row.success / row.samples,
                "success_criterion": str(SUCCESS),
                "utility_name": target.utility_name,
                "attack_seconds": seconds[name] if budget else 0.0,
                "flags": row.flags(),
                **time_pairs(target, pairs, clean_only=budget is None),
            }
        )
    config = {key: value for key, value in plan.to_json().items() if key != "torpor"}
    return {
        "schema": SCHEMA,
        "config": config | {"split": "test", "rule": _rule(target)},
        "command": plan.command(out.name),
        "target": describe_target(target),
        "environment": environment(target.device),
        "natural": natural_baseline(target, data, summary[0]["flops_mean"]),
        "summary": summary,
    }


def _select(table: pa.Table, attack: str, budget: Budget | None) -> pa.Table:
    chosen = pc.equal(table["attack"], attack)
    return table.filter(chosen if budget is None else pc.and_(chosen, pc.equal(table["eps"], budget.eps)))


def _identity(attack: str, target: Target) -> dict[str, Any]:
    """Return what kind of row this is, its threat model and its taxonomy tags."""
    if attack == "clean":
        return {"kind": "clean", "behavior": target.behavior.value, "stage": None, "access": None, "tags": {}}
    kind = ATTACKS[attack]
    covered = [member.id for member in Standard().members] if kind is Standard else [attack]
    return {
        "kind": "control" if kind.is_control else "attack",
        "behavior": target.behavior.value,
        "stage": kind.stage.value,
        "access": kind.access.value,
        "tags": {} if kind.is_control else tags_for(*covered),
    }


def _rule(target: Target) -> str | None:
    return target.rule.describe() if isinstance(target, EarlyExitTarget) else None


def describe_target(target: Target) -> dict[str, Any]:
    """Return what ``audit.json`` says of the target."""
    return {
        "name": target.name,
        "behavior": target.behavior.value,
        "mechanism": target.mechanism,
        "rule": _rule(target),
        "input_shape": list(target.space.shape),
        "classes": target.classes if isinstance(target, EarlyExitTarget) else None,
        "utility_name": target.utility_name,
        "static_flops": sum(unit.flops for unit in target.units),
        "units": [{"name": unit.name, "flops": unit.flops} for unit in target.units],
        "exit_costs": target.exit_costs.tolist() if isinstance(target, EarlyExitTarget) else None,
    }


def natural_baseline(target: Target, data: ImageSet, flops_mean: float) -> dict[str, Any] | None:
    """Run the validation split, which no attack is judged on, and return its 99.9th percentile of cost."""
    if not data.has("validation"):
        return None
    costs = [
        target.prices.cost(target.run(to_unit(batch.images).to(target.device)).work).numpy()
        for batch in data.batches("validation", 128)
    ]
    flops = np.concatenate(costs)
    worst = benign_percentile(flops)
    return {"split": "validation", "n": len(flops), "flops_p999": worst, "slowdown_p999": worst / flops_mean}
