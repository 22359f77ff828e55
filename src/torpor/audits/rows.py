"""From an attack's result to per-sample records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.audits.store import records_table
from torpor.core.budget import Budget
from torpor.core.outcome import Outcome
from torpor.core.work import Work
from torpor.data.sets import Batch
from torpor.metrics.distances import distances
from torpor.metrics.headroom import headroom
from torpor.metrics.slowdown import slowdown
from torpor.targets.base import Target


def clean_rows(target: Target, batch: Batch, clean: Outcome, static: Work) -> pa.Table:
    """Return the records of the clean inputs."""
    nothing = np.zeros(len(batch))
    spent = {"linf": nothing, "l2": nothing, "l1": nothing, "forwards": nothing.astype(int)}
    spent |= {"backwards": nothing.astype(int)}
    return _rows(target, batch, "clean", None, clean, clean, static, spent)


def attacked_rows(target: Target, batch: Batch, name: str, budget: Budget, result: AttackResult) -> pa.Table:
    """Return the records of one attack on one batch."""
    found = result.candidates
    away = distances(result.clean_inputs, result.inputs)
    spent: dict[str, Any] = {
        "linf": away.linf.cpu().numpy(),
        "l2": away.l2.cpu().numpy(),
        "l1": away.l1.cpu().numpy(),
        "forwards": found.forwards.cpu().numpy(),
        "backwards": found.backwards.cpu().numpy(),
        "zero_gradient": _flags(found.zero_gradient),
        "moved": result.moved.cpu().to(torch.float64).numpy(),
        "loss_fell": _flags(found.loss_fell),
        "black_box_won": _flags(found.black_box_won),
    }
    return _rows(target, batch, name, budget, result.clean, result.attacked, result.static, spent)


def _flags(values: Tensor | None) -> list[bool] | None:
    return None if values is None else values.cpu().tolist()


def _rows(
    target: Target,
    batch: Batch,
    name: str,
    budget: Budget | None,
    clean: Outcome,
    outcome: Outcome,
    static: Work,
    spent: dict[str, Any],
) -> pa.Table:
    count = len(batch)
    flops_clean = target.prices.cost(clean.work).numpy()
    flops = target.prices.cost(outcome.work).numpy()
    flops_static = target.prices.cost(static).numpy()
    room = headroom(flops, flops_clean, flops_static)
    columns: dict[str, Any] = {
        "sample": batch.index.numpy(),
        "attack": [name] * count,
        "defense": ["none"] * count,
        "norm": [budget.norm if budget else None] * count,
        "eps": [budget.eps if budget else None] * count,
        "reference": batch.references.numpy(),
        "flops_clean": flops_clean,
        "flops": flops,
        "flops_static": flops_static,
        "slowdown": slowdown(flops, flops_clean),
        "headroom": [None if math.isnan(value) else value for value in room.tolist()],
        "work": outcome.work.counts.tolist(),
        "exit": (outcome.work.counts > 0).sum(1).numpy() - 1,
        "utility_clean": target.utility(clean.outputs, batch.references).numpy(),
        "utility": target.utility(outcome.outputs, batch.references).numpy(),
        "agreement": target.agreement(outcome.outputs, clean.outputs).numpy(),
        "zero_gradient": None,
        "moved": None,
        "loss_fell": None,
        "black_box_won": None,
        **spent,
    }
    fell = columns["loss_fell"]
    columns["stuck"] = None if fell is None else (np.array(fell) & (flops <= flops_clean) & (flops < flops_static))
    for name in ("zero_gradient", "moved", "stuck", "black_box_won"):
        columns[name] = [None] * count if columns[name] is None else columns[name]
    return records_table(columns)


def costliest(target: Target, results: list[AttackResult]) -> Tensor:
    """Return, per sample, the perturbation ``[B, C, H, W]`` of the costliest of several results."""
    best: Tensor = results[0].inputs - results[0].clean_inputs
    cost = target.prices.cost(results[0].attacked.work)
    for result in results[1:]:
        price = target.prices.cost(result.attacked.work)
        better = (price > cost).to(best.device).view(-1, 1, 1, 1)
        best = torch.where(better, result.inputs - result.clean_inputs, best)
        cost = torch.maximum(price, cost)
    return best
