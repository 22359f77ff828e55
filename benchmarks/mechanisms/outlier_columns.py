"""Outlier columns of vision transformers in 8 bits: QuantAttack, `standard` and controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.mechanisms._activity import measured
from benchmarks.mechanisms.row import Row
from torpor.attacks.registry import load_attack
from torpor.core.errors import DataError
from torpor.zoo.registry import ZOO

PARTS = ("int8-vit-digits", "int8-vit-cifar10")
ATTACKS = ("quantattack", "standard", "control-noise", "control-flat")
"""QuantAttack reports outlier columns on DeiT and ViT with 16/255 of its own range; its tables were not to be had."""


def rows(limit: int, data_dir: Path | None, part: str) -> list[Row]:
    """Attack ``limit`` test images at the paper's budget, 8/255 of pixels, if a network has weights and data here."""
    try:
        target: Any = ZOO[part].load()
        target.data(data_dir).load("test", 1)
    except DataError:
        return []
    attacks = [(name, load_attack(name, norm="Linf", eps="8/255")) for name in ATTACKS]
    return measured(target, attacks, [("outlier columns", target.outliers)], {}, limit, data_dir)
