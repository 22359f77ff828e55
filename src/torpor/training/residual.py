"""What an attack still does to a hardened target, for its model card."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torpor.attacks.base import Attack
from torpor.data.sets import DataSet
from torpor.targets.base import Target
from torpor.zoo.entry import save_card

BATCH = 50
"""Samples that are attacked together."""


def residual(target: Target, data: DataSet, attack: Attack, limit: int) -> dict[str, Any]:
    """Attack up to ``limit`` test samples and return utility and cost, clean and attacked.

    Costs are shares of the static bound, in FLOPs; with early exits the efficacy of the step form is 1 minus that.
    Units whose number depends on the input are counted too.
    """
    utility, cost, counts = [], [], []
    for batch in data.batches("test", BATCH, limit):
        result = attack(target, target.read(batch.inputs), references=batch.references)
        both, seen = (result.clean, result.attacked), result.evidence(target)
        utility.append(torch.stack([target.utility(outcome.outputs, batch.references) for outcome in both]))
        counts.append(torch.stack([outcome.work.counts.double() for outcome in both]))
        cost.append(np.stack([seen.clean / seen.static, seen.cost / seen.static, seen.cost / seen.clean]))
    clean, attacked, slowdown = np.concatenate(cost, 1).mean(1)
    useful, work = torch.cat(utility, 1).mean(1), torch.cat(counts, 1)  # [2], [2, N, U]
    found = {
        f"{target.utility_name}, clean": useful[0].item(),
        f"{target.utility_name}, attacked": useful[1].item(),
        "cost, clean": clean,
        "cost, attacked": attacked,
        "slowdown_mean": slowdown,
    }
    for column, unit in enumerate(target.units):
        if work[..., column].unique().numel() > 1:
            before, after = work[..., column].mean(1).tolist()
            found |= {f"{unit.name}_mean, clean": before, f"{unit.name}_mean, attacked": after}
    return {"samples": work.shape[1]} | {name: round(float(value), 4) for name, value in found.items()}


def add_residual(card: Path, target: Target, data_dir: Path | None, attacks: Iterable[Attack], limit: int) -> None:
    """Add to a model card what each of ``attacks`` still does to ``target``."""
    content = json.loads(card.read_text(encoding="utf-8"))
    for attack in attacks:
        content[f"test under {attack.id} {attack.budget}"] = residual(target, target.data(data_dir), attack, limit)
    save_card(card, content)
