"""Attacks: how inputs are made expensive. Each name loads on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torpor.attacks.base import Attack, AttackResult, Candidates
    from torpor.attacks.deepsloth import DeepSloth
    from torpor.attacks.pgd import PGD, PGDAvg, PGDMax
    from torpor.attacks.registry import ATTACKS, attack_ids, load_attack
    from torpor.attacks.square import Square
    from torpor.attacks.standard import Standard
    from torpor.attacks.uap import UAP
    from torpor.attacks.universal import DeepSlothClassUniversal, DeepSlothUniversal

__all__ = [
    "ATTACKS",
    "PGD",
    "UAP",
    "Attack",
    "AttackResult",
    "Candidates",
    "DeepSloth",
    "DeepSlothClassUniversal",
    "DeepSlothUniversal",
    "PGDAvg",
    "PGDMax",
    "Square",
    "Standard",
    "attack_ids",
    "load_attack",
]

_HOME = {
    "base": ("Attack", "AttackResult", "Candidates"),
    "deepsloth": ("DeepSloth",),
    "pgd": ("PGD", "PGDAvg", "PGDMax"),
    "registry": ("ATTACKS", "attack_ids", "load_attack"),
    "square": ("Square",),
    "standard": ("Standard",),
    "uap": ("UAP",),
    "universal": ("DeepSlothClassUniversal", "DeepSlothUniversal"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the modules that names come from
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
