"""Outlier columns of a vision transformer in 8 bits: QuantAttack, `standard` and controls."""

from __future__ import annotations

from pathlib import Path

from benchmarks.mechanisms._activity import measured
from benchmarks.mechanisms.row import Row
from torpor.attacks.registry import load_attack
from torpor.zoo.registry import ZOO

NAME = "int8-vit-digits"
ATTACKS = ("quantattack", "standard", "control-noise", "control-flat")
"""QuantAttack reports outlier columns on DeiT and ViT with 16/255 of its own range; its tables were not to be had."""


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Attack ``limit`` test digits at the paper's budget, 8/255 of pixels."""
    target = ZOO[NAME].load()
    attacks = [(name, load_attack(name, norm="Linf", eps="8/255")) for name in ATTACKS]
    return measured(target, attacks, [("outlier columns", target.outliers)], {}, limit, None)  # type: ignore[attr-defined]
