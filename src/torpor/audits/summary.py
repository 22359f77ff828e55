"""The summary of an audit: one row per attack and budget, from records, timings and diagnostics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.torch import load_file
from torch import Tensor

from torpor.attacks.base import Attack
from torpor.attacks.registry import ATTACKS
from torpor.attacks.spaces import spendable
from torpor.attacks.standard import Standard
from torpor.audits.environment import environment
from torpor.audits.flags import Flags
from torpor.audits.plan import BLIND, Cell, Plan
from torpor.audits.stages import stage_clock
from torpor.audits.store import Store
from torpor.audits.timing import at_four_caps, time_pairs, untimed
from torpor.core.criteria import Criterion, Evidence, success
from torpor.core.space import DenseSpace
from torpor.data.sets import DataSet
from torpor.metrics.degradation import degradation
from torpor.metrics.loops import COLUMNS as LOOP_COLUMNS
from torpor.metrics.loops import LoopSummary
from torpor.metrics.natural import benign_percentile
from torpor.metrics.outputs import COLUMNS as OUTPUT_COLUMNS
from torpor.metrics.outputs import OutputSummary
from torpor.metrics.summary import COLUMNS, NULLABLE, CostSummary
from torpor.metrics.translation import CorpusScores
from torpor.targets.base import Target
from torpor.targets.candidates import CandidateTarget
from torpor.targets.gates import GateTarget
from torpor.targets.steps import StepTarget
from torpor.taxonomy import tags_for

SCHEMA = "torpor.audit/1"
COMPARED = ("agreement", "flops_clean", "utility_clean", "utility")
"""Columns that tell what a defense did to clean inputs."""
DEGRADED = {
    "changed_rate": "share",
    "changed_cost_ratio": "cost_ratio",
    "utility_loss_mean": "utility_loss",
    "utility_loss_max": "worst_loss",
    "hurt": "hurt",
}
"""Keys of the clean row behind a defense, and where they are from."""


class _Row:
    """What one summary row gathers while the shards stream by."""

    def __init__(self, criterion: Criterion, cell: Cell) -> None:
        self.criterion = criterion
        self.guarded = cell.budget is None and cell.defense != "none"
        self.cost, self.flags = CostSummary(), Flags()
        self.loops, self.scores, self.outputs = LoopSummary(), CorpusScores(), OutputSummary()
        self.samples = self.success = self.refused = 0
        self.refuses = False
        self.cut: int | None = None
        self.behind: list[pa.Table] = []
        self.found_through: dict[str, int] = {}

    def update(self, table: pa.Table, own: pa.Table) -> None:
        columns = {name: table[name].to_numpy(zero_copy_only=False) for name in COLUMNS}
        maybe = {name: columns[name].astype(np.float64) for name in NULLABLE}
        steps, finds, exits = (table[name].null_count == 0 for name in ("steps", "kept", "exit"))
        self.cost.update(columns | maybe | ({"exit": table["exit"].to_numpy()} if exits else {}))
        if steps:
            self.loops.update({name: table[name].to_numpy(zero_copy_only=False) for name in LOOP_COLUMNS})
            self.scores.update(table["output"].to_pylist(), table["reference_text"].to_pylist())
        if finds:
            self.outputs.update({name: table[name].to_pylist() for name in OUTPUT_COLUMNS})
        self.flags.update(table, own)
        clean, agrees = table["flops_own"].to_numpy(), columns["agreement"].astype(bool)
        met = self.criterion(Evidence(columns["flops"], clean, columns["flops_static"], agrees))
        self.success += int((met & ~table["refused"].fill_null(False).to_numpy(zero_copy_only=False)).sum())
        self.samples += len(table)
        self.refused += int(pc.sum(table["refused"]).as_py() or 0)
        if table["cut"].null_count == 0:
            self.cut = (self.cut or 0) + int(pc.sum(pc.greater(table["cut"], 0)).as_py() or 0)
        self.refuses |= table["refused"].null_count == 0
        for name in table["found_through"].drop_null().to_pylist():
            self.found_through[name] = self.found_through.get(name, 0) + 1
        if self.guarded:
            self.behind.append(table.select((*COMPARED, "refused")))

    def degraded(self) -> dict[str, Any]:
        """Return what a defense did to clean inputs; None for other rows."""
        if not self.guarded:
            return dict.fromkeys(DEGRADED)
        table = pa.concat_tables(self.behind)
        same, *others = (table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in COMPARED)
        passed = ~table["refused"].fill_null(False).to_numpy(zero_copy_only=False)
        found = degradation(same * passed, *others)
        return {name: getattr(found, field) for name, field in DEGRADED.items()}


def summarize(
    plan: Plan,
    targets: Mapping[str, Target],
    data: DataSet,
    store: Store,
    tell: Callable[[int], None] = lambda row: None,
) -> dict[str, Any]:
    """Return the content of ``audit.json``.

    Args:
        plan: what was done.
        targets: the target behind each defense by its name, and the undefended one as ``"none"``.
        data: what it was done with.
        store: where the records are.
        tell: told the number of each row before it is timed.
    """
    target = targets["none"]
    criterion = success(target.behavior)
    rows = [_Row(criterion, cell) for cell in plan.cells]
    for table in store.tables():
        for cell, row in zip(plan.cells, rows, strict=True):
            row.update(_select(table, cell), _select(table, Cell("clean", None, cell.defense)))
    seconds = store.seconds()
    first = next(cell for cell in plan.cells if cell.budget)
    summary = []
    for number, (cell, row) in enumerate(zip(plan.cells, rows, strict=True)):
        tell(number)
        budget, defended = cell.budget, targets[cell.defense]
        pairs = load_file(store.folder / "examples" / f"{(cell if budget else first).slug}.safetensors")
        summary.append(
            {
                "target": target.name,
                "attack": cell.attack,
                "defense": cell.defense,
                "attacker": cell.attacker,
                "norm": budget.norm if budget else None,
                "eps": budget.eps if budget else None,
                "eps_spent": spendable(budget, target.space) if budget else None,
                **_identity(plan.kinds, cell.attack, target),
                **row.cost.compute(target.exit_costs if isinstance(target, GateTarget) else None),
                **_family(defended, row, pairs, clean_only=budget is None, defended=cell.defense != "none"),
                **row.degraded(),
                "refused_rate": row.refused / row.samples if row.refuses else None,
                "cut_n": row.cut,
                "success_rate": row.success / row.samples,
                "success_criterion": str(criterion),
                "utility_name": target.utility_name,
                "attack_seconds": seconds[cell.slug] if budget else 0.0,
                "no_headroom_rate": row.flags.no_headroom,
                "found_through": row.found_through or None,
                "flags": _flags(plan, cell, row, rows),
                **(_fit_cost(store.folder / "fitted" / f"{cell.slug}.safetensors")),
                **_latency(target, _timed(plan, cell, target, defended, pairs)),
            }
        )
    config = {key: value for key, value in plan.to_json().items() if key != "torpor"}
    return {
        "schema": SCHEMA,
        "config": config | {"split": "test", "rule": target.details().get("rule")},
        "command": plan.command(store.folder.name),
        "target": describe_target(target),
        "environment": environment(target.device),
        "natural": natural_baseline(target, data, summary[0]["flops_mean"]),
        "clock": stage_clock(target, data) if plan.timed and isinstance(target, CandidateTarget) else None,
        "summary": summary,
    }


def _flags(plan: Plan, cell: Cell, row: _Row, rows: Sequence[_Row]) -> list[str]:
    """Return the flags of a row; controls face the undefended target only, so attacks meet them there alone."""
    attacks = plan.kinds
    if cell.budget is None or cell.attack not in attacks or cell.attacker == BLIND:
        return ["nothing-to-measure"] if cell.budget is not None and row.flags.open == 0 else []
    beside = {
        each.attack: other.flags
        for each, other in zip(plan.cells, rows, strict=True)
        if each.budget == cell.budget and each.defense == cell.defense and each.attack not in attacks
    }
    return row.flags.compute(beside)


def _timed(plan: Plan, cell: Cell, target: Target, defended: Target, pairs: dict[str, Tensor]) -> dict[str, Any]:
    """Measure a row; behind defenses clean inputs only, or many defenses would be timed longer than attacked."""
    if not plan.timed:
        return untimed("this audit measures no time")
    if cell.budget is not None and cell.defense != "none":
        return untimed("behind a defense only clean inputs are timed")
    return time_pairs(target, defended, pairs, clean_only=cell.budget is None)


def _latency(target: Target, timed: dict[str, Any]) -> dict[str, Any]:
    """Add the latency's increase in per cent for targets that iterate: the field's I-Latency."""
    if not isinstance(target, StepTarget):
        return timed
    ratio = timed["latency_slowdown"]
    return {**timed, "i_latency": None if ratio is None else 100 * (ratio - 1)}


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


def _select(table: pa.Table, cell: Cell) -> pa.Table:
    wanted: dict[str, Any] = {"attack": cell.attack, "defense": cell.defense}
    if cell.attacker is not None:
        wanted["attacker"] = cell.attacker
    if cell.budget is not None:
        wanted |= {"norm": cell.budget.norm, "eps": cell.budget.eps}
    return table.filter(reduce(pc.and_, (pc.equal(table[name], value) for name, value in wanted.items())))


def _identity(kinds: Mapping[str, type[Attack]], attack: str, target: Target) -> dict[str, Any]:
    """Return what kind of row this is, its threat model and its taxonomy tags."""
    if attack == "clean":
        return {"kind": "clean", "behavior": target.behavior.value, "stage": None, "access": None, "tags": {}}
    kind = kinds.get(attack) or ATTACKS.find(attack)
    covered = [member.id for member in Standard().members] if kind is Standard else [kind.id]
    return {
        "kind": "control" if kind.is_control else "attack",
        "behavior": target.behavior.value,
        "stage": kind.stage.value,
        "access": kind.access.value,
        "tags": {} if kind.is_control else tags_for(*covered),
    }


def _family(target: Target, row: _Row, pairs: dict[str, Tensor], *, clean_only: bool, defended: bool) -> dict[str, Any]:
    """Return the keys of a row that only this kind of target has."""
    if isinstance(target, CandidateTarget):
        return row.outputs.compute(target.units)
    if not isinstance(target, StepTarget):
        return {}
    own = row.loops.compute(cap=target.cap, context=target.details().get("context"))
    free = dict.fromkeys(("cap4", "cap4_n", "cap4_i_loops_mean", "cap4_hit_rate"))
    if not defended:  # what a guard caps is not to be raised
        free = at_four_caps(target, pairs, clean_only=clean_only)
    return own | row.scores.compute() | free


def describe_target(target: Target) -> dict[str, Any]:
    """Return what ``audit.json`` says of the target."""
    return {
        "name": target.name,
        "behavior": target.behavior.value,
        "mechanism": target.mechanism,
        "inputs": target.space.kind,
        "accepts": target.space.accepts,
        "input_shape": list(target.space.shape) if isinstance(target.space, DenseSpace) else None,
        "utility_name": target.utility_name,
        "static_flops": int(target.prices.cost(target.static_work()).item()),
        "units": [{"name": unit.name, "flops": unit.flops, "stage": unit.stage or None} for unit in target.units],
        **dict.fromkeys(("rule", "classes", "exit_costs")),
        **target.details(),
    }


def natural_baseline(target: Target, data: DataSet, flops_mean: float) -> dict[str, Any] | None:
    """Run the validation split, which no attack is judged on, and return its 99.9th percentile of cost."""
    if not data.has("validation"):
        return None
    costs = [
        target.prices.cost(target.run(target.read(batch.inputs)).work).numpy()
        for batch in data.batches("validation", 128)
    ]
    flops = np.concatenate(costs)
    worst = benign_percentile(flops)
    return {"split": "validation", "n": len(flops), "flops_p999": worst, "slowdown_p999": worst / flops_mean}
