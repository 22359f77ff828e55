"""How well a trained detector finds what is there, and how much it proposes, as it is deployed; its model card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torpor.core.objects import Objects
from torpor.data.sets import DataSet
from torpor.metrics.detection import average_precision, mean_average_precision
from torpor.targets.candidates import CANDIDATE, PAIR
from torpor.targets.detection import DetectorTarget
from torpor.zoo.recipes.detection import DetectionRecipe


def judge(target: DetectorTarget, data: DataSet, split: str) -> dict[str, Any]:
    """Return average precision against what is there, and the work per picture, for a model card."""
    found: list[Objects] = []
    true: list[Objects] = []
    counts: dict[str, list[torch.Tensor]] = {CANDIDATE: [], PAIR: []}
    for batch in data.batches(split, 50):
        outcome = target.run(target.read(batch.inputs))
        found += outcome.outputs
        true += batch.references
        for unit, seen in counts.items():
            seen.append(target.counted(outcome.work, unit).double())
    candidates, pairs = (torch.cat(seen) for seen in counts.values())
    return {
        "samples": len(true),
        "mAP@.5": round(average_precision(found, true), 4),
        "mAP@[.5:.95]": round(mean_average_precision(found, true), 4),
        "objects_mean": round(sum(map(len, true)) / len(true), 3),
        "found_mean": round(sum(map(len, found)) / len(true), 3),
        "candidates_mean": round(candidates.mean().item(), 3),
        "candidates_max": int(candidates.max()),
        "candidates_static": target.anchors,
        "pairs_mean": round(pairs.mean().item(), 3),
        "pairs_max": int(pairs.max()),
    }


def write_card(
    name: str,
    network: nn.Module,
    data: DataSet,
    scores: dict[str, Any],
    recipe: DetectionRecipe,
    folder: Path,
    seconds: float,
) -> Path:
    """Write ``NAME.json`` beside ``NAME.safetensors`` and return its path.

    Args:
        name: of the target.
        network: what was trained.
        data: what it was trained on.
        scores: what it is worth, for each split.
        recipe: how it was trained.
        folder: where the weights are.
        seconds: that this took.
    """
    card = {
        "name": name,
        "parameters": sum(value.numel() for value in network.parameters()),
        "data": data.fingerprint(),
        **scores,
        "recipe": asdict(recipe),
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "sha256": hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest(),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return path
