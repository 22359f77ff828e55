"""Model cards of multi-exit networks: accuracy and cost of each exit, and the thresholds that follow."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from torpor.data.images import ImageSet, to_unit
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.thresholds import choose_threshold, threshold_table
from torpor.training.loop import LoopRecipe
from torpor.zoo.early_exits import DROPS, EarlyExitEntry
from torpor.zoo.entry import load_half, save_card, save_half


def all_logits(target: EarlyExitTarget, data: ImageSet, split: str) -> tuple[Tensor, Tensor]:
    """Return the logits of every exit ``[N, K, C]`` and the labels ``[N]`` of one split."""
    logits, labels = [], []
    with torch.no_grad():
        for batch in data.batches(split, 250):
            logits.append(target.signals(to_unit(batch.inputs)).exit_logits.cpu())
            labels.append(batch.references)
    return torch.cat(logits), torch.cat(labels)


def save_model(
    entry: EarlyExitEntry, model: ShallowDeepNetwork, data: ImageSet, recipe: LoopRecipe, folder: Path
) -> Path:
    """Write ``NAME.safetensors`` (kernels in half precision) and ``NAME.json`` and return the card's path.

    Thresholds are chosen on the validation split; the test split is only reported.
    """
    weights = folder / f"{entry.name}.safetensors"
    save_half(model, weights)
    model = load_half(entry.build(), weights, entry.name)
    target = EarlyExitTarget(model, Confidence(1.0), input_shape=entry.input_shape, name=entry.name)
    accuracy: dict[str, list[float]] = {}
    logits = labels = torch.empty(0)
    for split in ("test", "validation"):
        logits, labels = all_logits(target, data, split)
        right = (logits.argmax(-1) == labels.unsqueeze(1)).to(torch.float64).mean(0)
        accuracy[split] = [round(value, 4) for value in right.tolist()]
    table = threshold_table(logits, labels, target.exit_costs)
    final = (logits[:, -1].argmax(-1) == labels).to(torch.float64).mean().item()
    card = {
        "name": entry.name,
        "parameters": sum(value.numel() for value in model.parameters()),
        "data": data.name,
        "accuracy_per_exit": accuracy,
        "flops_per_unit": {unit.name: unit.flops for unit in target.units},
        "cost_per_exit": [round(value, 4) for value in target.exit_costs.tolist()],
        "thresholds": {str(drop): choose_threshold(table, final, drop).threshold for drop in DROPS},
        "threshold_table": [asdict(row) for row in table],
        "threshold_split": "validation",
        "recipe": asdict(recipe),
        "torch": torch.__version__,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    return save_card(folder / f"{entry.name}.json", card)
