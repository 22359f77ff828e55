"""Attacks: how inputs are made expensive. Each name loads on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.core.lazy import lazy

if TYPE_CHECKING:
    from torpor.attacks.base import Attack, AttackResult, Candidates
    from torpor.attacks.early_exit.deepsloth import DeepSloth
    from torpor.attacks.early_exit.deepsloth_universal import DeepSlothClassUniversal, DeepSlothUniversal
    from torpor.attacks.early_exit.pgd import PGD, PGDAvg, PGDMax
    from torpor.attacks.early_exit.square import Square
    from torpor.attacks.early_exit.standard import Standard
    from torpor.attacks.early_exit.uap import UAP
    from torpor.attacks.registry import ATTACKS, attack_ids, load_attack
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "base": ["Attack", "AttackResult", "Candidates"],
            "early_exit.deepsloth": ["DeepSloth"],
            "early_exit.deepsloth_universal": ["DeepSlothClassUniversal", "DeepSlothUniversal"],
            "early_exit.pgd": ["PGD", "PGDAvg", "PGDMax"],
            "early_exit.square": ["Square"],
            "early_exit.standard": ["Standard"],
            "early_exit.uap": ["UAP"],
            "registry": ["ATTACKS", "attack_ids", "load_attack"],
        },
    )

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
