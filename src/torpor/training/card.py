"""Model cards: what a trained network is worth, and how it came about."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torpor.data.sets import DataSet
from torpor.training.loop import LoopRecipe
from torpor.zoo.entry import save_card


def write_card(
    name: str,
    network: nn.Module,
    data: DataSet,
    scores: dict[str, Any],
    recipe: LoopRecipe,
    folder: Path,
    seconds: float,
) -> Path:
    """Write ``NAME.json`` beside ``NAME.safetensors`` and return its path.

    Args:
        name: of the target.
        network: what was trained.
        data: what it was trained on.
        scores: what it is worth, for each split, and whatever else is to be kept.
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
    return save_card(folder / f"{name}.json", card)
